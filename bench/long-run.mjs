// A long run through the real command, once in bf16 and once in f32: the same data in the same order. bf16 must end where f32 ends, memory
// must not grow, and a late step must cost what an early one does.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { readRun } from '../dist/runs/index.js';
import { gib, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- long-run [options]

  --steps N        optimiser steps of 256 tokens (default: 5000)
  --threads N      (default: all cores)
  --save           writes bench/results/long-run.json
  --json           the record as the last line`;

const TOKENS_PER_STEP = 256;

const options = readOptions(USAGE, {
  steps: '5000',
  threads: String(os.availableParallelism()),
});
const steps = Number(options.steps);
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));

/** The embedded base model on the demo's two corpora, a third of them general. */
function runOf(precision) {
  const data = path.join(root, 'data');
  const config = {
    name: precision,
    model: path.join(data, 'base-en-8m'),
    corpora: {
      'postgres-docs': { path: path.join(data, 'demo/postgres-docs.jsonl.gz'), role: 'domain' },
      english: { path: path.join(data, 'demo/english.jsonl.gz'), role: 'general' },
    },
    recipe: { preset: 'reuse-dont-retrain', replay: 0.33 },
    budget: { steps },
    training: { precision, seqLen: TOKENS_PER_STEP, batchTokens: TOKENS_PER_STEP, microBatch: 1 },
    evaluate: { every: Math.max(1, Math.floor(steps / 10)), tokens: 50_000 },
    output: temporary,
  };
  const file = path.join(temporary, `${precision}.yaml`);
  fs.writeFileSync(file, JSON.stringify(config));
  const command = [path.join(root, 'dist/cli/main.js'), 'run', file, '--quiet', '--threads', options.threads];
  const child = spawnSync(process.execPath, command, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (child.status !== 0) throw new Error(`continuo run (${precision}) ended with code ${child.status}`);
  return summarise(readRun(path.join(temporary, precision)), precision);
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

function summarise({ metrics, evals }, precision) {
  const tenth = Math.ceil(metrics.numSteps / 10);
  const early = { from: tenth, to: 2 * tenth };
  const late = { from: metrics.numSteps - tenth, to: metrics.numSteps };
  const of = (column, { from, to }) => metrics[column].subarray(from, to);
  const final = evals.at(-1);
  return {
    precision,
    steps: metrics.numSteps,
    tokens: metrics.tokens.at(-1),
    trainingLossOfLastTenth: round(mean(of('loss', late)), 5),
    heldOutBitsPerByte: Object.fromEntries(
      Object.entries(final.sets).map(([name, score]) => [name, round(score.bitsPerByte, 5)]),
    ),
    // The first tenth still compiles and allocates.
    residentBytes: { secondTenth: median(of('rssBytes', early)), lastTenth: median(of('rssBytes', late)) },
    largestResidentBytes: Math.max(...metrics.rssBytes),
    stepMs: { secondTenth: round(median(of('stepMs', early)), 2), lastTenth: round(median(of('stepMs', late)), 2) },
  };
}

const runs = ['f32', 'bf16'].map(runOf);
const [f32, bf16] = runs;
const relative = (a, b) => round((a - b) / b, 5);
const differences = {
  trainingLossOfLastTenth: relative(bf16.trainingLossOfLastTenth, f32.trainingLossOfLastTenth),
  ...Object.fromEntries(
    Object.keys(f32.heldOutBitsPerByte).map((name) => [
      name,
      relative(bf16.heldOutBitsPerByte[name], f32.heldOutBitsPerByte[name]),
    ]),
  ),
};
printTable([
  [
    'precision',
    'steps',
    'loss, last tenth',
    ...Object.keys(f32.heldOutBitsPerByte),
    'memory, 2nd tenth',
    'last tenth',
    'ms a step',
    'last tenth',
  ],
  ...runs.map((r) => [
    r.precision,
    r.steps,
    r.trainingLossOfLastTenth,
    ...Object.values(r.heldOutBitsPerByte),
    gib(r.residentBytes.secondTenth),
    gib(r.residentBytes.lastTenth),
    r.stepMs.secondTenth,
    r.stepMs.lastTenth,
  ]),
]);
console.log(
  `bf16 against f32: ${Object.entries(differences)
    .map(([name, d]) => `${name} ${(d * 100).toFixed(2)} %`)
    .join(', ')}`,
);
const record = {
  bench: 'long-run',
  ...provenance('long-run'),
  tokensPerStep: TOKENS_PER_STEP,
  runs,
  bf16AgainstF32: differences,
};
if (options.save) saveRecord('long-run', record);
if (options.json) console.log(JSON.stringify(record));
