// llama.cpp's side of bench/generate.mjs: reads a prompt of token ids, then decodes greedily, one sequence. Prints one line of JSON.
// Usage: node decode.mjs SPEC_JSON with {gguf, prompt, numTokens, repeats, threads, top}
import { getLlama, LlamaLogLevel } from 'node-llama-cpp';

const { gguf, prompt, numTokens, repeats, threads, top } = JSON.parse(process.argv[2]);
const llama = await getLlama({
  gpu: false,
  build: 'never',
  skipDownload: true,
  maxThreads: threads,
  logLevel: LlamaLogLevel.error,
});
const model = await llama.loadModel({ modelPath: gguf, gpuLayers: 0 });
const context = await model.createContext({
  contextSize: prompt.length + numTokens + 1,
  batchSize: 512,
  sequences: 1,
  threads,
});
const sequence = context.getSequence();
const wanted = { logits: { filter: { includeMax: true, includeTop: top } }, totalLogitWeight: true };
const answers = await sequence.controlledEvaluate(
  prompt.map((id, i) => (i === prompt.length - 1 ? [id, { generateNext: wanted }] : id)),
);
const { logits, totalLogitWeight } = answers.at(-1).next;
const ranked = [...logits].sort((a, b) => b[1] - a[1]);
const shift = ranked[0][1] + Math.log(totalLogitWeight);

const seconds = [];
let tokens;
for (let i = 0; i < repeats; i++) {
  await sequence.clearHistory();
  tokens = [];
  let start;
  for await (const token of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    // The first token ends the reading of the prompt.
    start ??= performance.now();
    tokens.push(token);
    if (tokens.length > numTokens) break;
  }
  seconds.push((performance.now() - start) / 1000 / numTokens);
}
console.log(
  JSON.stringify({
    release: llama.llamaCppRelease.release,
    seconds,
    tokens,
    logProbabilities: ranked.map(([id, logit]) => [id, logit - shift]),
  }),
);
await llama.dispose();
