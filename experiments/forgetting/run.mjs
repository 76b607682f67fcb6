// What guards old knowledge best: the same base, documents and number of steps under each method, on a near domain (a manual in English)
// and a far one (a manual in German). Trains with the real command (runs that exist are reused); means and errors over seeds.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { parseArgs } from 'node:util';
import { escapeXml, lineChart } from '../../dist/report/chart.js';
import { standalone } from '../../dist/report/style.js';
import { paretoFront, readRun } from '../../dist/runs/index.js';
import { METHODS } from './methods.mjs';

const USAGE = `Usage: node experiments/forgetting/run.mjs [options]

  --model PATH      folder of the base model (default: data/base-en-8m)
  --domains LIST    near, far (default: both)
  --methods LIST    some of them (default: all)
  --seeds N         runs of each (default: 3)
  --steps N         of 2048 tokens (default: 36)
  --peak-lr X       default: 5e-4; adapters have ten times as much
  --fisher N        sequences that EWC measures on (default: the tool's)
  --folder PATH     where the runs go (default: runs/forgetting)
  --read            train nothing: only read the runs that lie in the folder
  --save NAME       writes NAME.json and a picture a domain beside this script

Needs a build (npm run build). With the defaults it trains for about an hour on 2 cores.`;

const { values: options } = parseArgs({
  options: {
    model: { type: 'string', default: 'data/base-en-8m' },
    domains: { type: 'string', default: 'near,far' },
    methods: { type: 'string' },
    seeds: { type: 'string', default: '3' },
    steps: { type: 'string', default: '36' },
    'peak-lr': { type: 'string', default: '5e-4' },
    fisher: { type: 'string' },
    folder: { type: 'string', default: 'runs/forgetting' },
    read: { type: 'boolean', default: false },
    save: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (options.help) {
  console.log(USAGE);
  process.exit(0);
}

const here = import.meta.dirname;
const root = path.resolve(here, '../..');
const folder = path.resolve(options.folder);
const [numSeeds, numSteps, peakLr] = [options.seeds, options.steps, options['peak-lr']].map(Number);
const [SEQ_LEN, TOKENS] = [512, 12_000];
const heldOut = { share: 0.1, documents: 12, tokens: 100_000 };
const DOMAINS = {
  near: { path: path.join(root, 'data/demo/postgres-docs.jsonl.gz'), limit: '220k' },
  far: { path: path.join(here, 'german.jsonl.gz') },
};

/** Trains one run with the real command, unless it exists, and reads it; undefined where there is none. */
function runOf(domain, method, seed) {
  const name = `${domain}-${method}-${seed}`;
  const {
    phases = [{ blend: { domain: 1 } }],
    lrFactor = 1,
    corpora,
    training,
    guard,
    ...more
  } = METHODS[method].config;
  const config = {
    name,
    model: path.resolve(root, options.model),
    corpora: {
      domain: { ...DOMAINS[domain], role: 'domain', heldOut },
      general: { path: path.join(root, 'data/demo/english.jsonl.gz'), role: 'general', heldOut },
      ...corpora,
    },
    recipe: {
      preset: 'custom',
      phases,
      schedule: 'cosine',
      peakLr: lrFactor * peakLr,
      finalLr: (lrFactor * peakLr) / 100,
    },
    budget: { steps: numSteps },
    training: { seqLen: SEQ_LEN, batchTokens: 2048, microBatch: 4, seed, ...training },
    evaluate: { every: numSteps, tokens: TOKENS },
    alarms: false,
    checkpoints: { every: 10_000, keep: 1 },
    output: folder,
    ...(guard && {
      guard:
        guard.ewc && options.fisher ? { ...guard, ewc: { ...guard.ewc, sequences: Number(options.fisher) } } : guard,
    }),
    ...more,
  };
  const existing = () => {
    const run = fs.existsSync(path.join(folder, name)) ? readRun(path.join(folder, name)) : undefined;
    return run?.evals.at(-1)?.step === numSteps ? run : undefined;
  };
  if (!options.read && !existing()) {
    fs.mkdirSync(folder, { recursive: true });
    const file = path.join(folder, `${name}.yaml`);
    fs.writeFileSync(file, JSON.stringify(config, undefined, 2));
    const command = [path.join(root, 'dist/cli/main.js'), 'run', file, '--quiet', '--no-measure'];
    const child = spawnSync(process.execPath, command, { stdio: ['ignore', 'ignore', 'inherit'] });
    if (child.status !== 0) throw new Error(`continuo run (${name}) ended with code ${child.status}`);
  }
  return existing();
}

/** Of one run: changes of bits per byte against the base, and what it cost. */
function figuresOf(run, method) {
  const [first, last] = [run.evals[0], run.evals.at(-1)];
  const after = METHODS[method].readsEma ? last.ema : last.sets;
  const change = (set) => after[set].bitsPerByte - first.sets[set].bitsPerByte;
  const rates = Array.from(run.metrics.tokensPerSecond).sort((a, b) => a - b);
  return {
    domain: change('domain'),
    general: change('general'),
    tokensPerSecond: rates[rates.length >> 1],
    peakRssBytes: Math.max(...run.events.map(({ peakRssBytes }) => peakRssBytes ?? 0)),
  };
}

/** Of models merged from one run's (or two runs') and the base, by the real command: the same changes. */
function mergedFigures(domain, method, seed) {
  const { of, merge, twoSeeds, scale } = METHODS[method];
  const seeds = twoSeeds ? [seed, (seed % numSeeds) + 1] : [seed];
  const runs = seeds.map((one) => runOf(domain, of, one));
  if (runs.includes(undefined) || new Set(seeds).size < seeds.length) return undefined;
  const alike = Object.values(METHODS).filter((one) => one.of === of && one.merge?.join() === merge.join());
  const scales = alike.map((one) => one.scale).sort((a, b) => a - b);
  const file = path.join(folder, `${[domain, of, seeds.join('+'), ...merge, ...scales].join('-')}.json`);
  if (!fs.existsSync(file)) {
    const models = runs.map((run) => path.join(run.folder, 'checkpoints', `step-${String(numSteps).padStart(8, '0')}`));
    const base = path.resolve(root, options.model);
    const parts = merge.includes('linear') ? [base, ...models] : [...models, '--base', base];
    const where = [
      '--config',
      path.join(folder, `${domain}-${of}-${seed}.yaml`),
      '--tokens',
      TOKENS,
      '--seq-len',
      SEQ_LEN,
    ];
    const command = ['merge', ...parts, ...merge, '--curve', scales.join(), ...where, '--json', '--quiet'];
    const child = spawnSync(process.execPath, [path.join(root, 'dist/cli/main.js'), ...command.map(String)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (child.status !== 0) throw new Error(`continuo merge (${method}, ${domain}) ended with code ${child.status}`);
    fs.writeFileSync(file, child.stdout);
  }
  const point = JSON.parse(fs.readFileSync(file, 'utf8')).curve.points.find((one) => one.scale === scale);
  const { tokensPerSecond, peakRssBytes } = figuresOf(runs[0], of);
  return {
    domain: point.domainChange.difference,
    general: point.generalChange.difference,
    // Two runs give one model.
    tokensPerSecond: tokensPerSecond / runs.length,
    peakRssBytes,
  };
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
/** Standard error of the mean; absent for one value. */
function standardError(values) {
  if (values.length < 2) return undefined;
  const center = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - center) ** 2)) / (values.length - 1));
}

/** Of runs of one method, seed by seed. */
function figures(domain, method) {
  return Array.from({ length: numSeeds }, (_, i) => {
    if (METHODS[method].merge) return mergedFigures(domain, method, i + 1);
    const run = runOf(domain, METHODS[method].of ?? method, i + 1);
    return run && figuresOf(run, method);
  });
}

/** @param naive the figures of training without a guard: changes are also told in percent of its changes, seed by seed */
function summary(domain, method, naive) {
  const all = figures(domain, method);
  const pairs = all.flatMap((one, i) => (one && naive[i] ? [[one, naive[i]]] : []));
  if (pairs.length === 0) return undefined;
  const of = (key) => pairs.map(([one]) => one[key]);
  const percent = (key) => pairs.map(([one, other]) => (100 * one[key]) / other[key]);
  return {
    ...{ domain, method, label: METHODS[method].label, seeds: pairs.length },
    ...{
      gain: -mean(of('domain')),
      gainError: standardError(of('domain')),
      gainPercent: mean(percent('domain')),
      gainPercentError: standardError(percent('domain')),
    },
    ...{
      loss: mean(of('general')),
      lossError: standardError(of('general')),
      lossPercent: mean(percent('general')),
      lossPercentError: standardError(percent('general')),
    },
    // The machine may have had other work beside one of the runs.
    ...{ tokensPerSecond: Math.max(...of('tokensPerSecond')), peakRssBytes: Math.max(...of('peakRssBytes')) },
  };
}

const signed = (value, error) => `${value.toFixed(4)}${error === undefined ? '' : ` ± ${error.toFixed(4)}`}`;

function print(domain, rows) {
  console.log(`\n## ${domain}\n`);
  console.log(
    '| method | domain gain, bits per byte | general loss | gain, % of none | loss, % of none | tokens/s | memory, GiB |',
  );
  console.log('|---|---:|---:|---:|---:|---:|---:|');
  for (const row of rows) {
    const share = (key) => {
      const error = row[`${key}PercentError`];
      return `${row[`${key}Percent`].toFixed(0)}${error ? ` ± ${error.toFixed(0)}` : ''}`;
    };
    console.log(
      `| ${row.label} | ${signed(row.gain, row.gainError)} | ${signed(row.loss, row.lossError)} | ${share('gain')} | ${share('loss')} | ${Math.round(row.tokensPerSecond)} | ${(row.peakRssBytes / 2 ** 30).toFixed(2)} |`,
    );
  }
}

/** Beyond so much of the loss without a guard a method is named below the picture, which it would leave little of. */
const MAX_LOSS_PERCENT = 125;

/**
 * Domain gain over general loss, both in percent of training without a guard, of the same seed, with standard errors,
 * the front of what no other method beats on both, and the way of the LR.
 */
function picture(title, all) {
  const percent = (row, key) => ({ value: row[`${key}Percent`], error: row[`${key}PercentError`] ?? 0 });
  const placed = all.map((row) => ({ ...row, x: percent(row, 'loss'), y: percent(row, 'gain') }));
  const rows = placed.filter(({ x }) => x.value <= MAX_LOSS_PERCENT);
  const outside = placed.filter((row) => !rows.includes(row));
  const point = ({ x, y }) => ({ x: x.value, y: y.value });
  const arms = ({ x, y }) => [
    [-1, 1].map((side) => ({ x: x.value + side * x.error, y: y.value })),
    [-1, 1].map((side) => ({ x: x.value, y: y.value + side * y.error })),
  ];
  const byX = (a, b) => a.x - b.x;
  const byLr = rows
    .filter(({ method }) => METHODS[method].isLr)
    .map(point)
    .sort(byX);
  const unbeaten = paretoFront(rows.map(({ label, loss, gain }) => ({ label, domain: -gain, general: loss })));
  const front = rows
    .filter(({ label }) => unbeaten.has(label))
    .map(point)
    .sort(byX);
  const named = outside.map((row) => `${row.label} (${Math.round(row.x.value)}, ${Math.round(row.y.value)})`);
  const [width, height] = [1100, 760];
  const chart = lineChart({
    id: 'front',
    description: `${title}: domain gain against general loss by method`,
    xLabel: `loss on general text, percent of that without a guard (left is better)${named.length > 0 ? `; outside: ${named.join(', ')}` : ''}`,
    yLabel: 'gain on the domain, percent of that without a guard (up is better)',
    series: [
      { label: '', color: 6, points: byLr, expected: true },
      { label: '', color: 6, points: front },
      ...rows.flatMap((row) => arms(row).map((points) => ({ label: '', color: METHODS[row.method].color, points }))),
      ...rows.map((row) => ({ label: row.label, color: METHODS[row.method].color, points: [point(row)], dots: true })),
    ],
    labelsAtEnds: true,
    x: { nice: true },
    width,
    height,
  });
  return standalone(
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width + 32} ${height + 52}" width="${width + 32}" height="${height + 52}" role="img">`,
      `<title>${escapeXml(title)}</title><style></style><rect width="100%" height="100%" style="fill:var(--page)"/>`,
      `<text x="16" y="26" style="font-size:14px;font-weight:650">${escapeXml(title)}</text>`,
      chart.replace('<svg ', `<svg x="16" y="40" width="${width}" height="${height}" `),
      '</svg>',
    ].join(''),
  );
}

const methods = options.methods?.split(',') ?? Object.keys(METHODS);
const unknown = methods.find((name) => !METHODS[name]);
if (unknown) throw new Error(`no method ${unknown}; expected some of ${Object.keys(METHODS).join(', ')}`);
const domains = options.domains.split(',');
// Seed by seed, so that what was interrupted can be read.
for (let seed = 1; seed <= numSeeds; seed++)
  for (const domain of domains) for (const method of methods) if (!METHODS[method].of) runOf(domain, method, seed);
const results = [];
for (const domain of domains) {
  const naive = figures(domain, 'none');
  const rows = methods.map((method) => summary(domain, method, naive)).filter((row) => row !== undefined);
  print(domain, rows);
  results.push(...rows);
}
if (options.save) {
  fs.writeFileSync(path.resolve(here, `${options.save}.json`), `${JSON.stringify(results, undefined, 1)}\n`);
  for (const domain of domains) {
    const title = `${path.basename(options.model)}, ${domain} domain: what is learned and what is forgotten`;
    const rows = results.filter((row) => row.domain === domain);
    fs.writeFileSync(path.resolve(here, `${options.save}-${domain}.svg`), `${picture(title, rows)}\n`);
  }
}
