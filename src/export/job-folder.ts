// The part of a folder that frameworks with Python of the user's share: the job as it is, links to what it reads, and the PyTorch
// engine's reader of jobs, so that a small module beside it can hand on each sequence in the job's own order.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { makeFolder } from '../base/files.ts';
import { packageRoot } from '../base/package.ts';
import type { Job } from '../shards/index.ts';
import type { Exported, ExportSource } from './types.ts';

/** The PyTorch engine's reader of jobs, which needs numpy and nothing else. */
const READER = ['job.py', 'canonical.py', 'errors.py'];

/**
 * `job/` a copy, `shards/` and `model` links: corpora may be larger than the disk, and a copy of the folder that follows links
 * (`rsync -L`) has everything in it.
 * @param python files beside `worker/export/FRAMEWORK`, which go with the reader of jobs into the folder `module`
 */
export function writeJobFolder(
  source: ExportSource,
  folder: string,
  { framework, module, python }: { framework: string; module: string; python: readonly string[] },
): void {
  const { job } = source;
  const to = path.join(folder, 'job');
  fs.cpSync(job.folder, to, { recursive: true, dereference: true });
  const shards = path.join(folder, 'shards');
  makeFolder(shards);
  for (const [i, { prefix, maskDigest }] of job.job.shards.entries())
    for (const ending of maskDigest ? ['bin', 'idx', 'mask'] : ['bin', 'idx'])
      fs.symlinkSync(fs.realpathSync(`${prefix}.${ending}`), path.join(shards, `${i}.${ending}`));
  fs.symlinkSync(fs.realpathSync(source.model), path.join(folder, 'model'));
  makeFolder(path.join(folder, module));
  const worker = path.join(packageRoot(), 'worker');
  for (const file of READER)
    fs.copyFileSync(path.join(worker, 'continuo_worker', file), path.join(folder, module, file));
  for (const file of python)
    fs.copyFileSync(path.join(worker, 'export', framework, file), path.join(folder, module, file));
}

export const JOB_FILES: Exported['files'] = [
  { file: 'job/', what: 'the compiled job: order of samples, LR of each step (docs/formats-data.md)' },
  { file: 'shards/', what: "links to the corpora's token ids (Megatron's .bin and .idx), by their numbers in the job" },
  { file: 'model', what: 'link to the Hugging Face folder that training begins with' },
];

export const MOVING: Exported['commands'][number] = {
  heading: 'To another machine',
  text: 'Copy the folder with what it links to; training needs nothing else of this machine.',
  lines: ['rsync -aL ./ HOST:FOLDER/'],
};

/** Consecutive phases whose steps are cut in the same way: frameworks have one sequence length a start. */
export interface Stage {
  firstStep: number;
  /** One past its last. */
  endStep: number;
  phases: Job['phases'];
  batch: Job['batch'];
}

export function stagesOf(job: Job): Stage[] {
  const stages: Stage[] = [];
  for (const phase of job.phases) {
    const batch = phase.batch ?? job.batch;
    const last = stages.at(-1);
    const endStep = phase.firstStep + phase.numSteps;
    if (last && last.batch.seqLen === batch.seqLen && last.batch.sequencesPerStep === batch.sequencesPerStep) {
      last.endStep = endStep;
      last.phases.push(phase);
    } else stages.push({ firstStep: phase.firstStep, endStep, phases: [phase], batch });
  }
  return stages;
}
