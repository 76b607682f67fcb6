// Does the LR-annealing law, fitted on cosine runs, forecast a WSD run? Once from random weights (arXiv 2408.11029), once continuing the
// embedded base on a domain with replay (arXiv 2505.07796). And do intervals of forecasts made within a run hold its end?
// Trains six small models with the real command (runs that exist are reused), prints figures as Markdown, draws two charts.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { parseArgs } from 'node:util';
import { fitAnnealingLaw, forecastLoss, goodness, predictCurve } from '../../dist/recipe/index.js';
import { lineChart } from '../../dist/report/chart.js';
import { standalone } from '../../dist/report/style.js';
import { forecastRun, readRun } from '../../dist/runs/index.js';

const USAGE = `Usage: node experiments/annealing-law/run.mjs [options]

  --folder PATH    where the runs go (default: runs/annealing-law)
  --threads N      of the engine (default: all cores)
  --only PART      new or continued (default: both)
  --read           train nothing: only read the runs that lie in the folder
  --draw           write the charts beside this script

Needs a build (npm run build). Trains for about 15 minutes on 2 cores.`;

const { values: options } = parseArgs({
  options: {
    folder: { type: 'string', default: 'runs/annealing-law' },
    threads: { type: 'string' },
    only: { type: 'string' },
    read: { type: 'boolean', default: false },
    draw: { type: 'boolean', default: false },
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
/** `steps`: share of the part's. All read the same samples in the same order, as far as they go. */
const SHAPES = {
  'cosine-long': { steps: 1, shape: { schedule: 'cosine' } },
  'cosine-short': { steps: 0.7, shape: { schedule: 'cosine' } },
  'wsd-short': { steps: 0.6, shape: { schedule: 'wsd', decay: 'linear', decayShare: 0.25 } },
  wsd: { steps: 0.85, shape: { schedule: 'wsd', decay: 'linear', decayShare: 0.25 } },
};
const FITTED = ['cosine-long', 'cosine-short'];
const FORECAST = ['wsd-short', 'wsd'];
const PARTS = {
  new: {
    title: 'From random weights',
    model: {
      new: { hidden: 128, layers: 4, heads: 4, kvHeads: 2, headDim: 32, ffn: 352, context: 128, vocab: 2048 },
    },
    heldOut: { share: 0.1, tokens: 60_000 },
    blend: { 'postgres-docs': 0.5, english: 0.5 },
    lr: { peakLr: 3e-3, finalLr: 3e-5, warmup: 0.02 },
    steps: 600,
    training: { seqLen: 128, batchTokens: 2048, microBatch: 16 },
    evaluate: { every: 20, tokens: 30_000 },
  },
  continued: {
    title: 'Continued from the embedded base',
    model: path.join(root, 'data/base-en-8m'),
    heldOut: { share: 0.1, documents: 12, tokens: 100_000 },
    blend: { 'postgres-docs': 0.5, english: 0.5 },
    lr: { peakLr: 6e-4, finalLr: 6e-6 },
    steps: 100,
    training: { seqLen: 512, batchTokens: 2048, microBatch: 4 },
    evaluate: { every: 8, tokens: 15_000 },
  },
};
const SETS = ['postgres-docs', 'english'];

/**
 * Trains one run with the real command, unless it exists, and reads it. The recipe for new models knows cosines alone: the WSD run
 * starts from the same random weights by name.
 */
function runOf(partName, shapeName) {
  const name = `${partName}-${shapeName}`;
  if (options.read) return readRun(path.join(folder, name));
  const part = PARTS[partName];
  const { steps, shape } = SHAPES[shapeName];
  const fromScratch = partName === 'new' && shape.schedule === 'cosine';
  const recipe = fromScratch
    ? { preset: 'from-scratch', blend: part.blend, ...part.lr }
    : { preset: 'custom', phases: [{ blend: part.blend }], ...part.lr, ...shape };
  const isNamed = partName === 'new' && !fromScratch;
  const model = isNamed ? readRun(path.join(folder, 'new-cosine-long')).job.model : part.model;
  const corpus = (name, role) => ({ path: path.join(root, `data/demo/${name}.jsonl.gz`), role, heldOut: part.heldOut });
  const config = {
    name,
    model,
    corpora: { 'postgres-docs': corpus('postgres-docs', 'domain'), english: corpus('english', 'general') },
    recipe,
    budget: { steps: Math.round(steps * part.steps) },
    training: { ...part.training, seed: 1 },
    evaluate: part.evaluate,
    checkpoints: { every: 10_000, keep: 1 },
    output: folder,
  };
  fs.mkdirSync(folder, { recursive: true });
  const file = path.join(folder, `${name}.yaml`);
  fs.writeFileSync(file, JSON.stringify(config, undefined, 2));
  const command = [path.join(root, 'dist/cli/main.js'), 'run', file, '--quiet'];
  if (options.threads) command.push('--threads', options.threads);
  const child = spawnSync(process.execPath, command, { stdio: ['ignore', 'ignore', 'inherit'] });
  if (child.status !== 0) throw new Error(`continuo run (${name}) ended with code ${child.status}`);
  return readRun(path.join(folder, name));
}

const scoresOf = (run, set) => run.evals.map(({ step, sets }) => ({ step, loss: sets[set].lossNats }));

/** Of a run, whose scores no law describes from random weights. */
const EARLY = 0.05;

/** Figures of a forecast of the WSD run's scores after its first steps. */
function judge(predicted, run, set) {
  const from = EARLY * run.schedule.length;
  const scores = scoresOf(run, set).filter(({ step }) => step >= from);
  const values = scores.map(({ step }) => predicted(step));
  const measured = scores.map(({ loss }) => loss);
  return { ...goodness(values, measured), end: values.at(-1) - measured.at(-1), scores };
}

const fixed = (x, digits = 4) => x.toFixed(digits);
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
const header = (cells) => {
  row(cells);
  row(cells.map((cell) => (/run|set|fitted/.test(cell) ? '---' : '---:')));
};

const LAMBDAS = [0.98, 0.99, 0.995, 0.998, 0.999];

function heldOutSchedules(name, runs) {
  const fitted = FITTED.map((shape) => runs[shape]);
  console.log(`\n## ${PARTS[name].title}\n`);
  for (const { law, set, label } of name === 'new' ? plainLaws(fitted) : []) {
    const { l0, a, alpha, c, lambda } = law;
    const values = Object.entries({ L0: l0, A: a, alpha, C: c, lambda });
    console.log(
      `${set}, ${label}: ${values.map(([key, value]) => `${key} ${Number(value.toPrecision(3))}`).join(', ')}\n`,
    );
  }
  header([
    'run',
    'held-out set',
    "S1 over the longer cosine's",
    'fitted',
    'MAE',
    'R2',
    'error at the end',
    'inside 90 %',
  ]);
  return FORECAST.flatMap((shape) => SETS.map((set) => heldOutSchedule(name, fitted, runs[shape], set)));
}

/** The first law, by the paper's lambda and by the one that fits the cosine runs best. */
function plainLaws(fitted) {
  return SETS.flatMap((set) => {
    const curves = fitted.map((run) => {
      const scores = scoresOf(run, set).filter(({ step }) => step >= EARLY * run.schedule.length);
      return { lr: run.schedule, steps: scores.map(({ step }) => step), losses: scores.map(({ loss }) => loss) };
    });
    return [
      { set, label: 'the law, lambda 0.999', law: fitAnnealingLaw(curves).law },
      { set, label: 'the law, best lambda', law: fitAnnealingLaw(curves, { lambdas: LAMBDAS }).law },
    ];
  });
}

function heldOutSchedule(name, fitted, wsd, set) {
  const area = (run) => run.schedule.reduce((sum, lr) => sum + lr, 0);
  const ratio = fixed(area(wsd) / area(fitted[0]), 2);
  const line = (label, predicted, interval) => {
    const { mae, r2, end, scores } = judge(predicted, wsd, set);
    const inside =
      interval && scores.filter(({ step, loss }) => interval(step).low <= loss && loss <= interval(step).high);
    const held = inside ? `${inside.length} of ${scores.length}` : '';
    row([wsd.name, set, ratio, label, fixed(mae), fixed(r2), fixed(end), held]);
  };
  const longScores = scoresOf(fitted[0], set);
  line('nothing: the longer cosine at the same step', (step) => valueAt(longScores, step));
  if (name === 'new')
    for (const { label, law } of plainLaws(fitted).filter((fit) => fit.set === set)) {
      const curve = predictCurve(law, wsd.schedule);
      line(label, (step) => curve[step]);
    }
  const steps = Array.from(wsd.schedule, (_, i) => i + 1);
  const runs = fitted.map((run) => ({ lr: run.schedule, heldOut: scoresOf(run, set) }));
  const heldOutTokens = wsd.evals[0].sets[set].numTokens;
  const s1Before = name === 'new' ? 0 : undefined;
  const { points, why } = forecastLoss({ heldOutTokens, runs, lr: wsd.schedule, steps, s1Before });
  if (!points) {
    row([wsd.name, set, ratio, `forecastLoss: none, ${why}`, '', '', '', '']);
    return { set, fitted, wsd, points: [] };
  }
  const at = (step) => points[step - 1];
  line('forecastLoss', (step) => at(step).loss, at);
  return { set, fitted, wsd, points };
}

function valueAt(scores, step) {
  const next = scores.findIndex((score) => score.step >= step);
  const [a, b] = [scores[Math.max(0, next - 1)], scores[next]];
  return a.step === b.step ? b.loss : a.loss + ((b.loss - a.loss) * (step - a.step)) / (b.step - a.step);
}

function withinRuns(runs) {
  console.log('\n## Within each run: its end, forecast on the way (bits per byte)\n');
  header(['run', 'held-out set', 'made after', 'forecast', '90 % interval', 'came', 'inside']);
  let [inside, made, square] = [0, 0, 0];
  for (const run of runs)
    for (const share of [0.5, 0.7, 0.9]) {
      const madeAt = Math.round(share * run.schedule.length);
      for (const { name, points, why } of forecastRun(run, madeAt).sets) {
        const came = run.evals.at(-1).sets[name].bitsPerByte;
        const end = points.at(-1);
        if (!end) {
          row([run.name, name, madeAt, 'none', why, fixed(came, 3), '']);
          continue;
        }
        const { bitsPerByte, low, high } = end;
        const isInside = low <= came && came <= high;
        made++;
        if (isInside) inside++;
        square += ((came - bitsPerByte) / ((high - low) / 2 / 1.645)) ** 2;
        const interval = `${fixed(low, 3)} to ${fixed(high, 3)}`;
        row([run.name, name, madeAt, fixed(bitsPerByte, 3), interval, fixed(came, 3), isInside ? 'yes' : 'no']);
      }
    }
  console.log(
    `\n${inside} of ${made} inside; root mean square of error / standard error: ${fixed(Math.sqrt(square / made), 2)}`,
  );
}

function draw(name, charts) {
  const { title } = PARTS[name];
  for (const { set, fitted, wsd, points } of charts) {
    const isShown =
      (run) =>
      ({ step }) =>
        name === 'continued' || step >= EARLY * run.schedule.length;
    const measured = (run, color, label) => ({
      label,
      color,
      points: scoresOf(run, set)
        .filter(isShown(run))
        .map(({ step, loss }) => ({ x: step, y: loss })),
      dots: true,
    });
    const shown = points.filter(isShown(wsd));
    const forecast = {
      label: 'forecast',
      color: 0,
      points: shown.map(({ step, loss }) => ({ x: step, y: loss })),
      raw: shown.map(({ step, low, high }) => ({ x: step, low, high })),
      rawInFull: true,
      expected: true,
    };
    const [width, height] = [760, 360];
    const chart = lineChart({
      id: `${wsd.name}-${set}`,
      description: `${title}: held-out loss of ${set} in two cosine runs and a WSD run, and the forecast of the latter`,
      xLabel: 'step',
      yLabel: 'held-out loss, nats per token; dashed: WSD as forecast from the cosine runs, with its 90 % interval',
      series: [
        measured(fitted[0], 6, 'cosine'),
        measured(fitted[1], 1, 'cosine, shorter'),
        forecast,
        measured(wsd, 0, 'WSD'),
      ],
      x: { include: 0 },
      width,
      height,
    });
    const heading = `${title}: ${set}`;
    const svg = standalone(
      [
        `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width + 32} ${height + 52}" width="${width + 32}" height="${height + 52}" role="img">`,
        `<title>${heading}</title><style></style><rect width="100%" height="100%" style="fill:var(--page)"/>`,
        `<text x="16" y="26" style="font-size:14px;font-weight:650">${heading}</text>`,
        chart.replace('<svg ', `<svg x="16" y="40" width="${width}" height="${height}" `),
        '</svg>',
      ].join(''),
    );
    const file = path.join(here, `${wsd.name}-${set}.svg`);
    fs.writeFileSync(file, `${svg}\n`);
    console.error(`drawn: ${file}`);
  }
}

const started = performance.now();
const parts = Object.keys(PARTS).filter((name) => !options.only || name === options.only);
const trained = parts.map((name) => [
  name,
  Object.fromEntries(Object.keys(SHAPES).map((shape) => [shape, runOf(name, shape)])),
]);
console.error(`trained or reused in ${Math.round((performance.now() - started) / 1000)} s`);
for (const [name, runs] of trained) {
  const charts = heldOutSchedules(name, runs);
  // The longer of the two WSD runs, which shows more.
  if (options.draw) draw(name, charts.slice(SETS.length));
}
// A new model that is named by its folder counts as a trained one: its own forecast is none of this.
withinRuns(
  trained.flatMap(([name, runs]) => (name === 'new' ? FITTED : Object.keys(SHAPES)).map((shape) => runs[shape])),
);
