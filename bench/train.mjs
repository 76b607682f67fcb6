// A whole training step (forward, backward, clipping, AdamW) beside PyTorch on CPU: same weights, same tokens, in one run. Every side is a
// process of its own, checked before it is timed: in f32, loss and gradient norm of a short sequence are equal on both sides.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { parseArgs } from 'node:util';
import { countMemory } from '../dist/nn/index.js';
import { estimateMemory } from '../dist/recipe/index.js';
import { availableBytes, gib, peakOf, printTable, provenance, readRecord, round, saveRecord } from './lib/machine.mjs';
import { MODEL_NAMES, modelFolder, modelNamed, python, root } from './lib/models.mjs';
import { runStep, writeTokens } from './lib/step.mjs';

const SIDES = ['continuo', 'continuo-f32', 'f32', 'f32-compiled', 'bf16', 'bf16-compiled'];
const USAGE = `Usage: npm run bench -- train [options]

  --model NAME     ${MODEL_NAMES.join(', ')} (default: 135m)
  --seq N          tokens a sequence (default: 1024)
  --batch N        sequences a step (default: as many as make 2048 tokens, tiny: 4096)
  --sides LIST     of ${SIDES.join(', ')} (default: all)
                   f32 and bf16 (autocast) are PyTorch's. Without "continuo", its last saved result is compared with.
  --steps N        timed steps a side at most (default: 10)
  --seconds S      no new timed step begins after these, but one is always timed (default: 30)
  --threads N      (default: all cores)
  --attention A    PyTorch's, sdpa or eager (default: sdpa)
  --save           writes bench/results/train-MODEL-SEQ.json; sides that were not run are kept from the last record
  --json           the record as the last line`;

/**
 * What separate programs may differ in, relative. In f32 the order of sums differs. In bf16 activations are rounded to 8 bits (2^-9), which
 * moves a loss averaged over tokens by far less, and the norm, a sum over all gradients, by about 1 %.
 */
const TOLERANCE = { f32: { loss: 1e-5, norm: 1e-3 }, bf16: { loss: 2e-3, norm: 0.03 } };
const CHECK_LENGTH = 256;
/** Exit codes of torch_train.py. */
const [WRONG_RESULT, OUT_OF_MEMORY] = [3, 4];

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: '135m' },
    seq: { type: 'string', default: '1024' },
    batch: { type: 'string' },
    sides: { type: 'string', default: SIDES.join(',') },
    steps: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '30' },
    threads: { type: 'string', default: String(os.availableParallelism()) },
    attention: { type: 'string', default: 'sdpa' },
    save: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const sides = options.sides.split(',');
if (options.help || sides.some((side) => !SIDES.includes(side))) {
  console.error(USAGE);
  process.exit(options.help ? 0 : 2);
}
const say = (line) => process.stderr.write(`${line}\n`);
const model = modelNamed(options.model);
const seqLen = Number(options.seq);
const batch = Number(options.batch ?? Math.max(1, Math.floor((model.name === 'tiny' ? 4096 : 2048) / seqLen)));
const rows = batch * seqLen;
const threads = Number(options.threads);
const recordName = `train-${model.name}-${seqLen}`;
const earlier = readRecord(recordName);

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));
const common = {
  folder: modelFolder(model),
  tokensFile: path.join(temporary, 'tokens.json'),
  batch,
  seqLen,
  checkLength: Math.min(seqLen, CHECK_LENGTH),
  steps: Number(options.steps),
  seconds: Number(options.seconds),
};
writeTokens(common.tokensFile, model.vocab, batch, seqLen);

say(`${model.name}, ${(model.numParameters / 1e6).toFixed(0)} million parameters, ${batch} x ${seqLen} tokens a step`);
const stateBytes = 16 * model.numParameters;
const fitsF32 = stateBytes + peerActivationBytes({ mode: 'f32', compiled: true }) < availableBytes();
const timeF32 = sides.includes('continuo-f32') && fitsF32;
const f32 = runStep({ ...common, precision: 'f32', threads, work: timeF32 ? 'train' : 'check' });
const measured = {};
if (timeF32) measured['continuo-f32'] = summary(f32, 'f32');
if (sides.includes('continuo')) {
  const bf16 = runStep({ ...common, precision: 'bf16', threads, work: 'train' });
  agree('continuo bf16', bf16.check, f32.check, TOLERANCE.bf16);
  measured.continuo = summary(bf16, 'bf16');
}
let peerThreads = threads > 1 ? [1, threads] : [1];
for (const side of sides.filter((name) => !name.startsWith('continuo'))) {
  const result = runPeer(side);
  if (!result) continue;
  peerThreads = [result.threads];
  measured[side] = result;
}
report();

function agree(name, found, expected, tolerance) {
  for (const key of ['loss', 'norm'])
    if (!(Math.abs(found[key] - expected[key]) <= tolerance[key] * Math.abs(expected[key])))
      throw new Error(`${name}: ${key} ${found[key]}, in f32 ${expected[key]}: not timing a wrong result`);
}

function summary(result, dtype) {
  const { seconds, check, first, peakRssBytes } = result;
  const tokensPerSecond = rows / Math.min(...seconds);
  const out = {
    tokensPerSecond: round(tokensPerSecond, tokensPerSecond < 100 ? 2 : 1),
    timedSteps: seconds.length,
    peakRssBytes,
    loss: first.loss,
    gradientNorm: first.norm,
    checkLoss: check?.loss,
  };
  if (result.variant)
    Object.assign(out, {
      kernels: result.variant,
      threads,
      estimatedBytes: estimateMemory(countMemory(model.config, { batch, seqLen, precision: dtype })).totalBytes,
      peakGFlops: { bf16: round(result.peak.bf16), f32: round(result.peak.f32) },
      mfu: round((tokensPerSecond * model.flopsPerToken(seqLen)) / (peakOf(result.peak) * 1e9), 3),
    });
  say(
    `${result.label ?? `continuo ${dtype}`}: ${tokensPerSecond.toFixed(1)} tokens/s, peak memory ${gib(peakRssBytes)}`,
  );
  return out;
}

/**
 * A lower bound of what PyTorch keeps of a forward pass and the loss, bytes: per layer the norms' inputs and outputs, q, k, v, the attention's
 * output, and gate, up, silu(gate) and the product. Autocast halves most of it, compiling recomputes the elementwise half.
 */
function peerActivationBytes({ mode, compiled, checkpointing, slicedLoss }) {
  const { hidden, ffn, kvDim, queryDim, layers, vocab } = model.sizes;
  const whole = 6 * hidden + 2 * queryDim + 2 * kvDim + 4 * ffn;
  const layer = rows * 4 * whole * (mode === 'bf16' ? 0.6 : 1) * (compiled ? 0.6 : 1);
  const kept = checkpointing ? rows * 4 * hidden * layers + layer : layer * layers;
  return kept + Math.min(rows, slicedLoss ? 1024 : rows) * vocab * 4 * 3;
}

/** PyTorch in one mode, as it fits: first as is, then with less memory. AdamW's moments go last, since without them the step is another. */
function runPeer(side) {
  const [mode, compiled] = [side.split('-')[0], side.endsWith('compiled')];
  const ways = ['adamw', 'sgd'].flatMap((optimizer) => [
    { optimizer, checkpointing: false, slicedLoss: false },
    { optimizer, checkpointing: true, slicedLoss: false },
    { optimizer, checkpointing: true, slicedLoss: true },
  ]);
  for (const way of ways) {
    const state = (way.optimizer === 'adamw' ? 16 : 8) * model.numParameters;
    // Half a GiB stays with the system and the parent.
    const memoryBytes = Math.floor(availableBytes() - 2 ** 29);
    if (state + peerActivationBytes({ mode, compiled, ...way }) > memoryBytes) continue;
    const spec = {
      ...common,
      ...way,
      mode,
      compiled,
      memoryBytes,
      threads: peerThreads,
      attention: options.attention,
      tolerance: TOLERANCE[mode],
      // Of the whole batch only where our f32 was timed: its loss is not known otherwise.
      expected: { check: f32.check, first: f32.first },
    };
    const label = `pytorch ${side}, ${way.optimizer}${way.checkpointing ? ', recomputing' : ''}${way.slicedLoss ? ', loss in slices' : ''}`;
    const run = spawnSync(python(), [path.join(root, 'bench/peers/torch_train.py'), JSON.stringify(spec)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 1 << 26,
    });
    if (run.status === OUT_OF_MEMORY || run.signal === 'SIGKILL') {
      say(`${label}: not enough memory`);
      continue;
    }
    if (run.status !== 0) {
      const message = `${label} failed: ${run.stderr.slice(-4000).trim()}`;
      if (run.status === WRONG_RESULT) throw new Error(message);
      say(message);
      return undefined;
    }
    const result = JSON.parse(run.stdout.trim().split('\n').at(-1));
    return {
      ...summary({ ...result, label }, mode),
      ...way,
      version: result.version,
      threads: result.threads,
      ...(result.secondsByThreads && { secondsByThreads: result.secondsByThreads }),
      attention: result.attention,
    };
  }
  say(`pytorch ${side}: no way fits in ${gib(availableBytes())}`);
  return undefined;
}

function report() {
  const where = provenance('train');
  const shape = { model: model.name, numParameters: model.numParameters, seqLen, batch };
  const kept = earlier?.batch === batch && earlier?.machine === where.machine ? earlier.sides : {};
  const stamped = Object.fromEntries(
    Object.entries(measured).map(([side, result]) => [
      side,
      { ...result, date: where.date, commit: where.commit, command: where.command },
    ]),
  );
  const all = { ...kept, ...stamped };
  const ours = all.continuo;
  const peak = ours && peakOf(ours.peakGFlops);
  const peers = SIDES.filter((side) => !side.startsWith('continuo') && all[side]);
  const best = peers.toSorted((a, b) => all[b].tokensPerSecond - all[a].tokensPerSecond)[0];
  const record = {
    bench: 'train',
    ...shape,
    machine: where.machine,
    tokensPerSecond: ours?.tokensPerSecond ?? null,
    mfu: ours?.mfu ?? null,
    bestPeer: best ?? null,
    ratioToBestPeer: ours && best ? round(ours.tokensPerSecond / all[best].tokensPerSecond, 2) : null,
    sides: all,
  };
  const flops = model.flopsPerToken(seqLen);
  printTable([
    [
      'side',
      'tokens/s',
      'of the peak',
      'times it',
      'peak memory',
      'planned',
      'loss',
      'gradient norm',
      'threads',
      'how',
    ],
    ...SIDES.filter((side) => all[side]).map((side) => {
      const s = all[side];
      return [
        side.startsWith('continuo') ? side : `pytorch ${side}`,
        s.tokensPerSecond,
        peak ? `${(((s.tokensPerSecond * flops) / (peak * 1e9)) * 100).toFixed(1)} %` : '',
        ours ? (ours.tokensPerSecond / s.tokensPerSecond).toFixed(2) : '',
        gib(s.peakRssBytes),
        s.estimatedBytes ? gib(s.estimatedBytes) : '',
        s.loss.toFixed(5),
        s.gradientNorm.toFixed(4),
        s.threads,
        side.startsWith('continuo')
          ? `adamw, ${s.kernels}`
          : `${s.optimizer}${s.checkpointing ? ', recomputing' : ''}${s.slicedLoss ? ', loss in slices' : ''}`,
      ];
    }),
  ]);
  if (record.ratioToBestPeer) console.log(`${record.ratioToBestPeer} times the best peer (${best})`);
  if (options.save) saveRecord(recordName, record);
  if (options.json) console.log(JSON.stringify(record));
}
