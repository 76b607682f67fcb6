// What each guard costs: the same short run by the real command, with one method added, beside the run without any. The methods take turns,
// so that a slow minute of the machine does not fall on one of them; the fastest of the repetitions counts.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { readRun } from '../dist/runs/index.js';
import { gib, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- guards [options]

  --model PATH     folder of a model with its tokenizer (default: data/base-en-8m)
  --steps N        of a run (default: 24)
  --tokens N       of a step (default: 4096)
  --repeats N      runs of each method (default: 3)
  --only LIST      some of plain, ema, ewc, l2, distill-general, ..., the first one is what the others are told in
  --threads N      (default: all cores)
  --save           writes bench/results/guards.json
  --json           the record as the last line`;

const options = readOptions(USAGE, {
  model: path.join(root, 'data/base-en-8m'),
  steps: '24',
  tokens: '4096',
  repeats: '3',
  only: undefined,
  threads: String(os.availableParallelism()),
});
const [numSteps, tokens, repeats] = [options.steps, options.tokens, options.repeats].map(Number);
const SEQ_LEN = 512;
const EVERY = Math.floor(numSteps / 3);
const model = path.resolve(options.model);
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));

const mixing = (method) => ({ mixing: { method, every: EVERY, warmup: EVERY } });
/** Keys of continuo.yaml beside those of the plain run. */
const METHODS = {
  plain: {},
  ema: { training: { ema: 0.99 } },
  ewc: { guard: { ewc: { sequences: 64 } } },
  l2: { guard: { l2: { toward: 'base' } } },
  'distill-general': { guard: { distill: { on: 'general' } } },
  'distill-all': { guard: { distill: { on: 'all' } } },
  'distill-all-top-32': { guard: { distill: { on: 'all', topK: 32 } } },
  'tokens-chosen': { training: { selectTokens: { reference: model, keep: 0.6 } } },
  'lora-16': { training: { lora: { rank: 16 } } },
  'dora-16': { training: { lora: { rank: 16, dora: true } } },
  odm: mixing('odm'),
  ado: mixing('ado'),
  velocitune: mixing('velocitune'),
  doge: mixing('doge'),
  alarms: { alarms: true },
};
const names = options.only?.split(',') ?? Object.keys(METHODS);

function runOf(name, repeat) {
  const corpus = (file, role) => ({
    path: path.join(root, `data/demo/${file}.jsonl.gz`),
    role,
    heldOut: { share: 0.1, documents: 12, tokens: 50_000 },
  });
  const { training, ...more } = METHODS[name];
  const config = {
    name: `run-${names.indexOf(name)}-${repeat}`,
    model,
    corpora: { domain: corpus('postgres-docs', 'domain'), general: corpus('english', 'general') },
    recipe: { preset: 'custom', phases: [{ blend: { domain: 0.75, general: 0.25 } }], schedule: 'cosine' },
    budget: { steps: numSteps },
    training: { seqLen: SEQ_LEN, batchTokens: tokens, ...training },
    evaluate: { every: EVERY, tokens: 5000 },
    checkpoints: { every: 10_000, keep: 1 },
    alarms: false,
    output: temporary,
    ...more,
  };
  const file = path.join(temporary, `${config.name}.yaml`);
  fs.writeFileSync(file, JSON.stringify(config));
  const command = ['run', file, '--quiet', '--no-measure', '--threads', options.threads];
  const start = performance.now();
  const child = spawnSync(process.execPath, [path.join(root, 'dist/cli/main.js'), ...command], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const seconds = (performance.now() - start) / 1000;
  if (child.status !== 0) throw new Error(`continuo run (${name}) ended with code ${child.status}`);
  const folder = path.join(temporary, config.name);
  const { metrics, events } = readRun(folder);
  if (metrics.numSteps !== numSteps) throw new Error(`${name}: ${metrics.numSteps} steps, expected ${numSteps}`);
  const stepMs = Array.from(metrics.stepMs.subarray(2)).sort((a, b) => a - b);
  fs.rmSync(folder, { recursive: true });
  return {
    loss: metrics.loss[0],
    stepMs: stepMs[stepMs.length >> 1],
    seconds,
    peakRssBytes: Math.max(...events.map(({ peakRssBytes }) => peakRssBytes ?? 0)),
  };
}

const runs = Object.fromEntries(names.map((name) => [name, []]));
for (let repeat = 0; repeat < repeats; repeat++)
  for (const name of names) {
    runs[name].push(runOf(name, repeat));
    process.stderr.write(`${name}: ${round(runs[name].at(-1).stepMs)} ms a step\n`);
  }
const best = (name, key) => Math.min(...runs[name].map((run) => run[key]));
const first = runs[names[0]][0].loss;
// Guards say nothing before the weights have moved; chosen tokens have another mean.
for (const name of names)
  if (!METHODS[name].training?.selectTokens && !(Math.abs(runs[name][0].loss - first) <= 1e-4 * first))
    throw new Error(`${name}: first loss ${runs[name][0].loss}, of the plain run ${first}`);
const results = names.map((name) => ({
  method: name,
  stepMs: round(best(name, 'stepMs'), 2),
  step: round(best(name, 'stepMs') / best(names[0], 'stepMs'), 3),
  run: round(best(name, 'seconds') / best(names[0], 'seconds'), 3),
  peakRssBytes: best(name, 'peakRssBytes'),
}));
printTable([
  ['method', 'ms a step', 'of the plain step', 'of the plain run', 'peak memory'],
  ...results.map((row) => [row.method, row.stepMs, row.step.toFixed(3), row.run.toFixed(2), gib(row.peakRssBytes)]),
]);
const record = {
  bench: 'guards',
  ...provenance('guards'),
  model: path.basename(model),
  numSteps,
  tokens,
  repeats,
  results,
};
if (options.save) saveRecord('guards', record);
if (options.json) console.log(JSON.stringify(record));
