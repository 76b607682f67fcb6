// Our side of bench/generate.mjs, as a program of its own: reads a prompt, then decodes greedily, one sequence or several at once.
// Usage: node bench/lib/decode.mjs SPEC_JSON with {folder, prompt, numTokens, repeats, threads, sequences}; prints one line of JSON.
import { openModel } from '../../dist/checkpoint/index.js';
import { nativeInfo, pickKernels } from '../../dist/kernels/index.js';
import { GenerationBatch, GREEDY, KeyValueCache, loadDecoder } from '../../dist/nn/index.js';

const { folder, prompt, numTokens, repeats, threads, sequences } = JSON.parse(process.argv[2]);
const kernels = pickKernels();
kernels.setNumThreads(threads);
const source = openModel(folder);
const decoder = loadDecoder(source, 'bf16', kernels);
source.close();
// Sequences join one a step, the first ones decoding meanwhile; what is timed begins when all have joined.
const maxTokens = numTokens + sequences + 1;
const capacity = prompt.length + maxTokens;

/** Of the token after the prompt, from the cache's own path. */
function logProbabilities() {
  const cache = new KeyValueCache(decoder.config, 'bf16', 1, capacity);
  const logits = decoder.extend(cache, [{ slot: 0, tokens: Int32Array.from(prompt), logits: 'last' }]);
  const max = logits.reduce((a, b) => Math.max(a, b));
  const shift = max + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - max), 0));
  return [...logits].map((x) => x - shift);
}

const seconds = [];
let tokens;
for (let i = 0; i < repeats; i++) {
  const batch = new GenerationBatch(decoder, sequences, capacity);
  const options = { maxTokens, stopTokens: new Set(), sampling: GREEDY };
  const running = Array.from({ length: sequences }, () => batch.add(Int32Array.from(prompt), options));
  while (running.some((sequence) => sequence.tokens.length === 0)) batch.step();
  const start = performance.now();
  for (let step = 0; step < numTokens; step++) batch.step();
  seconds.push((performance.now() - start) / 1000 / numTokens / sequences);
  tokens = running[0].tokens;
}
const weightBytes = decoder.list().reduce((sum, { data }) => sum + data.byteLength, 0);
const info = nativeInfo();
console.log(
  JSON.stringify({
    variant: kernels.variant,
    seconds,
    tokens,
    logProbabilities: logProbabilities(),
    weightBytes,
    bandwidth: { weights: info?.measureBandwidth(weightBytes, 1), large: info?.measureBandwidth(2 ** 32, 1) },
  }),
);
