// Batched scoring (evaluation on held-out text) beside the training step of the same model and batch: a forward pass is a third of a step's
// floating-point operations, so scoring should run at three times the step's tokens/s or more.
import * as os from 'node:os';
import { gib, peakOf, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { MODEL_NAMES, modelNamed } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';
import { trainingSteps } from './lib/step.mjs';

const USAGE = `Usage: npm run bench -- score [options]

  --models LIST    of ${MODEL_NAMES.join(', ')} (default: tiny,135m)
  --seq N          tokens a sequence (default: 1024)
  --tokens N       tokens a batch (default: 4096)
  --seconds S      a side (default: 15)
  --threads N      (default: all cores)
  --save           writes bench/results/score.json
  --json           the record as the last line`;

/** Scoring's loss is the step's, computed by the same kernels: equal but for the order of a sum over tokens in f64. */
const TOLERANCE = 1e-6;

const options = readOptions(USAGE, {
  models: 'tiny,135m',
  seq: '1024',
  tokens: '4096',
  seconds: '15',
  threads: String(os.availableParallelism()),
});
const results = options.models.split(',').map((name) => {
  const model = modelNamed(name);
  const { run, seqLen, batch } = trainingSteps(name, options);
  const [forward, step] = [run({ work: 'forward' }), run()];
  if (!(Math.abs(forward.first.loss - step.first.loss) <= TOLERANCE * step.first.loss))
    throw new Error(`${name}: scoring's loss ${forward.first.loss}, the step's ${step.first.loss}`);
  const [scoring, training] = [forward, step].map(({ tokensPerSecond }) => tokensPerSecond);
  const peak = Math.max(peakOf(forward.peak), peakOf(step.peak));
  return {
    model: name,
    batch,
    seqLen,
    threads: Number(options.threads),
    kernels: forward.variant,
    peakGFlops: round(peak),
    scoring: {
      tokensPerSecond: round(scoring),
      ofPeak: round((scoring * model.flopsPerToken(seqLen)) / 3 / (peak * 1e9), 3),
      peakRssBytes: forward.peakRssBytes,
    },
    training: {
      tokensPerSecond: round(training),
      mfu: round((training * model.flopsPerToken(seqLen)) / (peak * 1e9), 3),
      peakRssBytes: step.peakRssBytes,
    },
    ratio: round(scoring / training, 2),
  };
});

printTable([
  [
    'model',
    'scoring, tokens/s',
    'of the peak',
    'memory',
    'step, tokens/s',
    'of the peak',
    'memory',
    'ratio (3 by operations)',
  ],
  ...results.map((r) => [
    r.model,
    r.scoring.tokensPerSecond,
    `${(r.scoring.ofPeak * 100).toFixed(1)} %`,
    gib(r.scoring.peakRssBytes),
    r.training.tokensPerSecond,
    `${(r.training.mfu * 100).toFixed(1)} %`,
    gib(r.training.peakRssBytes),
    r.ratio,
  ]),
]);
const record = { bench: 'score', ...provenance('score'), results };
if (options.save) saveRecord('score', record);
if (options.json) console.log(JSON.stringify(record));
