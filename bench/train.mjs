// A whole training step (forward, backward, clipping, AdamW) beside PyTorch on CPU, same model, same tokens, in one run.
// Usage: npm run bench -- train [--json] [--model smollm2-135m|base] [--seq 1024] [--batch 2] [--steps 3] [--no-peers]
// Checked before timing: the first step's f32 loss of both on the same weights and tokens agrees within 1e-3.
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Rng } from '../dist/base/rng.js';
import { writeModelInto } from '../dist/checkpoint/index.js';
import { nativeInfo, pickKernels } from '../dist/kernels/index.js';
import { adamwStep, exportTensors, gradNorm, initDecoder, prepareTraining } from '../dist/nn/index.js';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    model: { type: 'string', default: 'smollm2-135m' },
    seq: { type: 'string', default: '1024' },
    batch: { type: 'string', default: '2' },
    steps: { type: 'string', default: '3' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    'no-peers': { type: 'boolean', default: false },
  },
});

const common = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  hidden_act: 'silu',
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  torch_dtype: 'float32',
  bos_token_id: 0,
  eos_token_id: 0,
};
const MODELS = {
  'smollm2-135m': {
    ...common,
    vocab_size: 49152,
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    max_position_embeddings: 8192,
    rope_theta: 100000,
  },
  base: {
    ...common,
    vocab_size: 8192,
    hidden_size: 256,
    intermediate_size: 704,
    num_hidden_layers: 8,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 512,
    rope_theta: 10000,
  },
};
const config = MODELS[options.model];
if (!config) throw new Error(`--model: one of ${Object.keys(MODELS).join(', ')}`);
const [seqLen, batchSize, numSteps, threads] = [options.seq, options.batch, options.steps, options.threads].map(Number);
const say = (line) => process.stderr.write(`${line}\n`);

const kernels = pickKernels();
kernels.setNumThreads(threads);
const rng = new Rng(1);
const rows = seqLen * batchSize;
const tokens = Int32Array.from({ length: batchSize * (seqLen + 1) }, () => rng.below(config.vocab_size));
const batch = {
  batch: batchSize,
  seqLen,
  inputs: new Int32Array(rows),
  targets: new Int32Array(rows),
  docStart: new Int32Array(rows),
};
for (let b = 0; b < batchSize; b++)
  for (let t = 0; t < seqLen; t++) {
    batch.inputs[b * seqLen + t] = tokens[b * (seqLen + 1) + t];
    batch.targets[b * seqLen + t] = tokens[b * (seqLen + 1) + t + 1];
  }

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));
const tokenizerFolder = path.join(root, 'test/fixtures/byte-tokenizer');
const readJson = (file) => JSON.parse(fs.readFileSync(file, 'utf8'));
const reference = initDecoder(config, 1, 'f32', kernels);
fs.mkdirSync(path.join(folder, 'model'));
writeModelInto(path.join(folder, 'model'), {
  config,
  tensors: exportTensors(reference),
  tokenizerFiles: {
    'tokenizer.json': readJson(path.join(tokenizerFolder, 'tokenizer.json')),
    'tokenizer_config.json': readJson(path.join(tokenizerFolder, 'tokenizer_config.json')),
  },
});
fs.writeFileSync(path.join(folder, 'tokens.json'), JSON.stringify({ tokens: [...tokens], batch: batchSize, seqLen }));
const mean = (losses) => losses.reduce((a, b) => a + b, 0) / rows;
const ourLoss = mean(reference.scoreBatch(batch));

/** Floating-point operations a token of a training step: 6 a matrix weight, and attention's 12 x hidden x length / 2 a layer. */
function flopsPerToken(decoder) {
  const weights =
    decoder.list().reduce((sum, p) => sum + (p.isVector ? 0 : p.data.length), 0) +
    (config.tie_word_embeddings ? 0 : -config.vocab_size * config.hidden_size);
  return 6 * weights + 6 * config.num_hidden_layers * config.hidden_size * seqLen;
}

function timeOurs(precision) {
  const decoder = initDecoder(config, 1, precision, kernels);
  prepareTraining(decoder.list());
  const weights = new Float32Array(rows).fill(1 / rows);
  const settings = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 };
  const seconds = [];
  for (let i = 0; i <= numSteps; i++) {
    const start = performance.now();
    decoder.trainBatch(batch, weights);
    adamwStep(decoder.list(), kernels, settings, 1e-4, i + 1, gradNorm(decoder.list(), kernels));
    if (i > 0) seconds.push((performance.now() - start) / 1000);
  }
  return {
    tokensPerSecond: rows / Math.min(...seconds),
    flops: flopsPerToken(decoder),
    activationBytes: decoder.activationBytes,
  };
}

const peak = nativeInfo()?.measurePeak('bf16') ?? 0;
say(
  `${options.model}, sequence ${seqLen}, batch ${batchSize}, ${threads} threads, kernels ${kernels.variant}, measured peak ${peak.toFixed(0)} GFLOP/s`,
);
const ours = timeOurs('bf16');
const peakRssBytes = process.resourceUsage().maxRSS * 1024;
say(
  `continuo bf16: ${ours.tokensPerSecond.toFixed(1)} tokens/s, peak memory ${(peakRssBytes / 2 ** 30).toFixed(2)} GiB`,
);
const oursF32 = timeOurs('f32');
say(`continuo f32: ${oursF32.tokensPerSecond.toFixed(1)} tokens/s`);

const peers = {};
const peerMemory = {};
if (!options['no-peers']) {
  const python = execFileSync('bash', [path.join(root, 'test/python/env.sh')], { encoding: 'utf8' }).trim();
  for (const mode of ['f32', 'bf16-autocast', 'f32-compiled', 'bf16-autocast-compiled']) {
    const run = spawnSync(
      python,
      [
        path.join(root, 'bench/peers/torch_train.py'),
        path.join(folder, 'model'),
        path.join(folder, 'tokens.json'),
        mode,
        String(numSteps),
        String(threads),
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
    );
    if (run.status !== 0) {
      say(`pytorch ${mode}: failed: ${run.stderr.trim().split('\n').at(-1)}`);
      continue;
    }
    const result = JSON.parse(run.stdout.trim().split('\n').at(-1));
    if (mode === 'f32' && Math.abs(result.firstLoss - ourLoss) > 1e-3)
      throw new Error(`losses differ: ours ${ourLoss}, PyTorch's ${result.firstLoss}`);
    peers[`pytorch-${mode}`] = Number(result.tokensPerSecond.toFixed(1));
    peerMemory[`pytorch-${mode}`] = result.peakRssBytes;
    say(
      `pytorch ${result.version} ${mode}: ${result.tokensPerSecond.toFixed(1)} tokens/s, peak memory ${(result.peakRssBytes / 2 ** 30).toFixed(2)} GiB`,
    );
  }
}
const best = Math.max(...Object.values(peers));
const record = {
  model: options.model,
  seqLen,
  batch: batchSize,
  threads,
  kernels: kernels.variant,
  tokensPerSecond: Number(ours.tokensPerSecond.toFixed(1)),
  tokensPerSecondF32: Number(oursF32.tokensPerSecond.toFixed(1)),
  peakGFlops: Number(peak.toFixed(1)),
  mfu: Number(((ours.tokensPerSecond * ours.flops) / (peak * 1e9)).toFixed(3)),
  peakRssBytes,
  peers,
  peerMemory,
  ratioToBestPeer: Number.isFinite(best) ? Number((ours.tokensPerSecond / best).toFixed(2)) : null,
  machine: os.cpus()[0].model.trim(),
  date: new Date().toISOString().slice(0, 10),
  commit: spawnSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: root, encoding: 'utf8' }).stdout.trim(),
};
say(`model FLOP utilisation ${(record.mfu * 100).toFixed(1)} %, ${record.ratioToBestPeer ?? '-'} x the best peer`);
if (options.json) console.log(JSON.stringify(record));
