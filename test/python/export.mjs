// Writes a compiled job for a framework. Usage: node test/python/export.mjs RUN FRAMEWORK FOLDER
import { exportJob } from '../../dist/export/index.js';
import { openJob } from '../../dist/shards/index.js';

const [run, framework, folder] = process.argv.slice(2);
const job = openJob(`${run}/job`);
const { numSteps, checkpoint } = job.job;
const plan = {
  name: 'tiny',
  presetTitle: 'test',
  tokensPerStep: 256,
  totalTokens: 256 * numSteps,
  schedule: { kind: 'linear', numSteps, peakLr: 3e-3, floorLr: 0, warmupSteps: 0 },
  evaluation: { everySteps: numSteps },
  checkpoint,
};
await exportJob(framework, { plan, job, model: job.job.model, config: 'continuo.yaml', folder, quiet: true });
job.close();
