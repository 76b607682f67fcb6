// A training step of GPT-2 124M beside llm.c's train_gpt2 on CPU: same weights, same tokens, same batch shape, in one run.
// llm.c is compiled from a checkout of its public repository with its Makefile's flags; its model code is called by peers/llmc_step.c.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { gib, peakOf, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { modelFolder, modelNamed, python, root } from './lib/models.mjs';
import { readOptions, refuse } from './lib/options.mjs';
import { runStep, writeTokens } from './lib/step.mjs';

const USAGE = `Usage: npm run bench -- gpt2 --llmc PATH [options]

  --llmc PATH      a checkout of github.com/karpathy/llm.c
  --shapes LIST    batch x length (default: 4x64,4x256,4x1024; 4x64 is train_gpt2's own)
  --steps N        timed steps a side at most (default: 10)
  --seconds S      no new timed step begins after these, but one is always timed (default: 20)
  --threads N      ours; llm.c is tried with 1 to this many (default: all cores)
  --save           writes bench/results/gpt2.json
  --json           the record as the last line

CC chooses llm.c's compiler (default: cc).`;

/** Its Makefile's, for Linux with OpenMP. */
const FLAGS = ['-Ofast', '-march=native', '-fopenmp', '-DOMP'];
/** Relative; see bench/train.mjs. llm.c is compiled with -Ofast and sums losses in f32. */
const TOLERANCE = { loss: 1e-5, norm: 1e-3 };

const options = readOptions(USAGE, {
  llmc: undefined,
  shapes: '4x64,4x256,4x1024',
  steps: '10',
  seconds: '20',
  threads: String(os.availableParallelism()),
});
if (!options.llmc) refuse(USAGE);
const say = (line) => process.stderr.write(`${line}\n`);
const llmc = path.resolve(options.llmc);
const compiler = process.env.CC ?? 'cc';
const maxThreads = Number(options.threads);
const model = modelNamed('gpt2-124m');
const folder = modelFolder(model);
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));
const at = (name) => path.join(temporary, name);

const peers = path.join(root, 'bench/peers');
execFileSync(compiler, [...FLAGS, '-w', `-I${llmc}`, '-o', at('step'), path.join(peers, 'llmc_step.c'), '-lm']);
execFileSync(python(), [path.join(peers, 'llmc_checkpoint.py'), folder, at('model.bin')]);

const results = options.shapes.split(',').map((shape) => {
  const [batch, seqLen] = shape.split('x').map(Number);
  const rows = batch * seqLen;
  writeTokens(at('tokens.json'), model.vocab, batch, seqLen);
  const { tokens } = JSON.parse(fs.readFileSync(at('tokens.json'), 'utf8'));
  fs.writeFileSync(at('tokens.bin'), Int32Array.from(tokens));
  const common = {
    folder,
    tokensFile: at('tokens.json'),
    batch,
    seqLen,
    checkLength: seqLen,
    steps: Number(options.steps),
    seconds: Number(options.seconds),
    threads: maxThreads,
    work: 'train',
  };
  const sides = {};
  const add = (name, result, extra) => {
    sides[name] = {
      tokensPerSecond: round(rows / (result.seconds.length ? Math.min(...result.seconds) : result.seconds), 1),
      loss: result.loss ?? result.first.loss,
      gradientNorm: result.norm ?? result.first.norm,
      peakRssBytes: result.peakRssBytes,
      ...extra,
    };
    say(`${shape} ${name}: ${sides[name].tokensPerSecond} tokens/s`);
  };
  let peak = 0;
  for (const precision of ['f32', 'bf16']) {
    const result = runStep({ ...common, precision });
    peak = Math.max(peak, peakOf(result.peak));
    add(`continuo-${precision}`, result, { threads: maxThreads, kernels: result.variant });
  }
  for (let threads = 1; threads <= maxThreads; threads++) {
    const output = execFileSync(
      at('step'),
      [at('model.bin'), at('tokens.bin'), batch, seqLen, options.steps, options.seconds].map(String),
      { encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: String(threads) } },
    );
    const result = JSON.parse(output.trim().split('\n').at(-1));
    const ours = sides['continuo-f32'];
    for (const [found, expected, key] of [
      [result.loss, ours.loss, 'loss'],
      [result.norm, ours.gradientNorm, 'norm'],
    ])
      if (!(Math.abs(found - expected) <= TOLERANCE[key] * expected))
        throw new Error(`${shape}: llm.c's ${key} ${found}, ours in f32 ${expected}: the two do not compute the same`);
    add(`llm.c-${threads}`, { ...result, seconds: result.seconds }, { threads, timedSteps: result.timedSteps });
  }
  const best = Object.keys(sides)
    .filter((name) => name.startsWith('llm.c'))
    .reduce((a, b) => (sides[a].tokensPerSecond >= sides[b].tokensPerSecond ? a : b));
  const mfu = (name) => round((sides[name].tokensPerSecond * model.flopsPerToken(seqLen)) / (peak * 1e9), 3);
  return {
    batch,
    seqLen,
    peakGFlops: round(peak),
    mfu: mfu('continuo-bf16'),
    mfuPeer: mfu(best),
    bestPeer: best,
    ratio: round(sides['continuo-bf16'].tokensPerSecond / sides[best].tokensPerSecond, 2),
    ratioF32: round(sides['continuo-f32'].tokensPerSecond / sides[best].tokensPerSecond, 2),
    sides,
  };
});

const version = (command, ...args) => execFileSync(command, args, { encoding: 'utf8' }).split('\n')[0].trim();
const record = {
  bench: 'gpt2',
  ...provenance('gpt2'),
  llmc: { compiler: version(compiler, '--version'), flags: FLAGS.join(' ') },
  results,
};
printTable([
  ['shape', 'side', 'tokens/s', 'bf16 is faster by', 'peak memory', 'loss', 'gradient norm'],
  ...results.flatMap(({ batch, seqLen, sides }) =>
    Object.entries(sides).map(([name, side]) => [
      `${batch}x${seqLen}`,
      name,
      side.tokensPerSecond,
      (sides['continuo-bf16'].tokensPerSecond / side.tokensPerSecond).toFixed(2),
      gib(side.peakRssBytes),
      side.loss.toFixed(5),
      side.gradientNorm.toFixed(4),
    ]),
  ),
]);
if (options.save) saveRecord('gpt2', record);
if (options.json) console.log(JSON.stringify(record));
