// Generation beside llama.cpp on the same bf16 weights: one sequence, greedy, with a key-value cache. A token reads every weight once, so the
// ceiling is memory: the bandwidth that this machine reads an array of the weights' size with, measured in the same run.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Rng } from '../dist/base/rng.js';
import { gib, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { modelFolder, modelNamed, python, root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- generate [options]

  --models LIST    of the Llama family: 135m, 360m, 1b (default: 135m)
  --prompt N       tokens read before (default: 128)
  --tokens N       decoded (default: 64)
  --repeats N      of which the fastest counts (default: 3)
  --sequences LIST at once, ours only (default: 1,8)
  --no-peers       without llama.cpp, which needs: cd bench/llama-cpp && npm install --omit=optional
  --save           writes bench/results/generate.json
  --json           the record as the last line

Both sides are tried with 1 thread to all cores.`;

/** Nats between our log-probabilities and llama.cpp's: both round activations to bf16, at different places. */
const TOLERANCE = 0.05;
/** Candidates that are compared. */
const TOP = 20;

const options = readOptions(USAGE, {
  models: '135m',
  prompt: '128',
  tokens: '64',
  repeats: '3',
  sequences: '1,8',
  'no-peers': false,
});
const say = (line) => process.stderr.write(`${line}\n`);
const [promptLength, numTokens, repeats] = [options.prompt, options.tokens, options.repeats].map(Number);
const cores = os.availableParallelism();

function run(script, spec) {
  const output = execFileSync(process.execPath, [path.join(root, script), JSON.stringify(spec)], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return JSON.parse(output.trim().split('\n').at(-1));
}

/** The model's GGUF file beside its folder, made when it is not there. */
function ggufOf(folder) {
  const file = `${folder}.gguf`;
  if (!fs.existsSync(file)) execFileSync(python(), [path.join(root, 'bench/llama-cpp/to_gguf.py'), folder, file]);
  return file;
}

const results = options.models.split(',').map((name) => {
  const model = modelNamed(name);
  const folder = modelFolder(model);
  const rng = new Rng(2);
  const prompt = Array.from({ length: promptLength }, () => rng.below(model.vocab));
  const common = { prompt, numTokens, repeats };
  const ours = [];
  for (const sequences of options.sequences.split(',').map(Number))
    for (let threads = 1; threads <= cores; threads++)
      ours.push({
        ...run('bench/lib/decode.mjs', { ...common, folder, threads, sequences }),
        threads,
        sequences,
      });
  const [first] = ours;
  const at = (threads) => ours.find((o) => o.threads === threads).bandwidth;
  const bandwidth = at(cores);
  const cacheBytes = 2 * 2 * model.sizes.layers * model.sizes.kvDim * (promptLength + numTokens / 2);
  const rows = ours.map(({ seconds, threads, sequences, variant }) => {
    const tokensPerSecond = 1 / Math.min(...seconds);
    return {
      side: 'continuo',
      kernels: variant,
      threads,
      sequences,
      tokensPerSecond: round(tokensPerSecond, 2),
      // Weights are read once for all sequences, a cache once for its own.
      ofBandwidth: round(
        ((tokensPerSecond / sequences) * (first.weightBytes + sequences * cacheBytes)) / 1e9 / bandwidth.weights,
        3,
      ),
    };
  });
  let release;
  if (!options['no-peers'])
    for (let threads = 1; threads <= cores; threads++) {
      const peer = run('bench/llama-cpp/decode.mjs', { ...common, gguf: ggufOf(folder), threads, top: TOP });
      const worst = Math.max(...peer.logProbabilities.map(([id, p]) => Math.abs(p - first.logProbabilities[id])));
      if (!(worst <= TOLERANCE))
        throw new Error(`${name}: log-probabilities differ from llama.cpp's by up to ${worst} nats`);
      release = peer.release;
      const tokensPerSecond = 1 / Math.min(...peer.seconds);
      rows.push({
        side: 'llama.cpp',
        threads,
        sequences: 1,
        tokensPerSecond: round(tokensPerSecond, 2),
        ofBandwidth: round((tokensPerSecond * (first.weightBytes + cacheBytes)) / 1e9 / bandwidth.weights, 3),
        logProbabilityDifference: round(worst, 5),
        sameTokens: peer.tokens.filter((token, i) => token === first.tokens[i]).length,
      });
    }
  const best = (side) =>
    Math.max(...rows.filter((r) => r.side === side && r.sequences === 1).map((r) => r.tokensPerSecond));
  say(
    `${name}: ${gib(first.weightBytes)} of weights, read at ${bandwidth.weights.toFixed(1)} GB/s (4 GiB: ${bandwidth.large.toFixed(1)})`,
  );
  return {
    model: name,
    promptLength,
    numTokens,
    weightBytes: first.weightBytes,
    bandwidth: { weights: round(bandwidth.weights, 1), large: round(bandwidth.large, 1) },
    llamaCpp: release,
    ratioToLlamaCpp: options['no-peers'] ? null : round(best('continuo') / best('llama.cpp'), 2),
    rows,
  };
});

for (const { model, rows, ratioToLlamaCpp } of results) {
  printTable([
    [model, 'threads', 'sequences', 'tokens/s', 'of the bandwidth', 'difference of log p', 'same tokens'],
    ...rows.map((r) => [
      r.side,
      r.threads,
      r.sequences,
      r.tokensPerSecond,
      `${(r.ofBandwidth * 100).toFixed(1)} %`,
      r.logProbabilityDifference ?? '',
      r.sameTokens === undefined ? '' : `${r.sameTokens} of ${numTokens + 1}`,
    ]),
  ]);
  if (ratioToLlamaCpp) console.log(`${ratioToLlamaCpp} times llama.cpp, one sequence`);
}
const record = { bench: 'generate', ...provenance('generate'), results };
if (options.save) saveRecord('generate', record);
if (options.json) console.log(JSON.stringify(record));
