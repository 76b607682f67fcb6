// Our side of bench/eval.mjs, as a program of its own: puts requests to a checkpoint as tasks do, timed by kind.
// Usage: node --expose-gc bench/lib/evaluate.mjs SPEC_JSON with {folder, requestsFile, precision, threads, repeats}; prints one line of JSON.
import * as fs from 'node:fs';
import { openModel } from '../../dist/checkpoint/index.js';
import { nativeModel } from '../../dist/eval/index.js';
import { pickKernels } from '../../dist/kernels/index.js';
import { loadDecoder } from '../../dist/nn/index.js';
import { peakMemoryBytes, resetPeakMemory } from './machine.mjs';

const { folder, requestsFile, precision, threads, repeats } = JSON.parse(process.argv[2]);
const requests = JSON.parse(fs.readFileSync(requestsFile, 'utf8'));
const kernels = pickKernels();
kernels.setNumThreads(threads);
const source = openModel(folder);
const model = nativeModel(source, loadDecoder(source, precision, kernels, 'inference'));
const ask = {
  questions: (list) => model.likelihoods(list),
  endings: (list) => model.likelihoods(list),
  rolling: (list) => model.rollingLikelihoods(list),
  generate: (list) => model.generate(list),
};
const kinds = {};
for (const [kind, list] of Object.entries(requests)) {
  resetPeakMemory();
  const seconds = [];
  let answers;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    answers = await ask[kind](list);
    seconds.push((performance.now() - start) / 1000);
  }
  kinds[kind] = { seconds, answers, peakRssBytes: peakMemoryBytes() };
}
model.close();
console.log(JSON.stringify({ variant: kernels.variant, kinds }));
