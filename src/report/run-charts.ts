// Which charts a run gets, and from which of its numbers.

import { formatCount } from '../base/units.ts';
import type { AlarmName } from '../config/index.ts';
import {
  type CurvePoint,
  curve,
  hasDecidedShares,
  quantile,
  type Run,
  type RunForecast,
  roleScore,
  sharesOverTime,
  stabilityGaps,
} from '../runs/index.ts';
import { type LineChart, lineChart, type Point, type Series, stackedBars } from './chart.ts';
import { formatLr, formatPercent } from './format.ts';

export interface Figure {
  title: string;
  /** How to read it; one sentence or two. */
  note: string;
  /** SVG or HTML. */
  drawing: string;
  wide?: boolean;
}

/** More points than this cannot be told apart at a chart's width. */
const CHART_POINTS = 500;
/** Share of the run that smoothing looks at around a step. */
const SMOOTHING_SHARE = 0.04;

/** Charts of what happened. A chart without data is left out. */
export function runFigures(run: Run, forecast?: RunForecast): Figure[] {
  return [
    lossFigure(run),
    heldOutFigure(run, forecast),
    changeFigure(run),
    sharesFigure(run),
    divergenceFigure(run),
    penaltyFigure(run),
    lrFigure(run),
    gradNormFigure(run),
    speedFigure(run),
  ].filter((figure) => figure !== undefined);
}

/** Palette index by corpus and held-out set: domain sets first, so that a domain is blue and the general text orange throughout. */
export function colorsOf(run: Run): Map<string, number> {
  const named = [...(run.plan?.corpora ?? []), ...(run.job?.evaluation.sets ?? [])];
  const roles = new Map(named.map(({ name, role }) => [name, role]));
  const rank = (name: string): number =>
    ({ domain: 0, general: 1, instruction: 2, evaluation: 3 })[roles.get(name) ?? 'evaluation'];
  const names = new Set([
    ...roles.keys(),
    ...(run.plan?.phases ?? []).flatMap((phase) => Object.keys(phase.blend)),
    ...Object.keys(run.metrics.lossByCorpus),
  ]);
  const colors = new Map<string, number>();
  for (const name of [...names].toSorted((a, b) => rank(a) - rank(b))) {
    const role = roles.get(name);
    const taken = new Set(colors.values());
    const wanted = role === 'domain' ? 0 : role === 'general' ? 1 : 2;
    colors.set(
      name,
      taken.has(wanted) ? ([2, 3, 4, 5, 6].find((color) => !taken.has(color)) ?? colors.size % 7) : wanted,
    );
  }
  return colors;
}

export function blendFigure(run: Run): Figure | undefined {
  const phases = run.plan?.phases ?? run.job?.phases ?? [];
  if (phases.length === 0) return undefined;
  const colors = colorsOf(run);
  const drawing = stackedBars(
    phases.map((phase) => ({
      label: `${phase.name}: steps ${phase.firstStep + 1} to ${phase.firstStep + phase.numSteps}`,
      parts: Object.entries(phase.blend)
        .filter(([, share]) => share > 0)
        .toSorted(([a], [b]) => (colors.get(a) ?? 9) - (colors.get(b) ?? 9))
        .map(([corpus, share]) => ({ label: corpus, share, color: colors.get(corpus) ?? 6 })),
    })),
  );
  const moved = hasDecidedShares(run) ? ' As planned; what was decided while the run went on is drawn above.' : '';
  const note = `Share of the training tokens that each corpus gives.${moved}`;
  return { title: 'Blend by phase', note, drawing, wide: true };
}

/** Shares over time, where they were decided while the run went on. */
function sharesFigure(run: Run): Figure | undefined {
  if (!hasDecidedShares(run)) return undefined;
  const decided = sharesOverTime(run);
  const colors = colorsOf(run);
  const names = [...new Set(decided.flatMap(({ blend }) => Object.keys(blend)))];
  const end = Math.max(run.metrics.numSteps, decided.at(-1)!.step + 1);
  const series = names.map(
    (name, i): Series => ({
      label: name,
      color: colors.get(name) ?? i % 7,
      points: decided.flatMap(({ step, blend }, k) => {
        const y = 100 * (blend[name] ?? 0);
        return [
          { x: step, y },
          { x: decided[k + 1]?.step ?? end, y },
        ];
      }),
    }),
  );
  return {
    title: 'Shares of the corpora',
    note: 'Percent of the training tokens, as decided while the run went on.',
    drawing: lineChart({
      id: 'shares',
      description: 'Share of the training tokens by corpus over steps',
      xLabel: stepLabel(run),
      yLabel: 'share of tokens (%)',
      series,
      marks: phaseMarks(run),
      y: { include: 0 },
      x: { include: 0 },
    }),
  };
}

function lossFigure(run: Run): Figure | undefined {
  const colors = colorsOf(run);
  const byCorpus = Object.entries(run.metrics.lossByCorpus);
  const columns: [string, Float64Array, number][] =
    byCorpus.length > 0
      ? byCorpus.map(([corpus, values]) => [corpus, values, colors.get(corpus) ?? 6])
      : [['all corpora', run.metrics.loss, 0]];
  return curvesFigure(run, {
    title: 'Training loss by corpus',
    note: 'Nats per token of the batch; the line is smoothed, the faint trace behind it is what was measured.',
    id: 'loss',
    alarms: ['spike', 'nonFinite', 'experts', 'overtraining', 'epochs'],
    yLabel: 'loss (nats per token)',
    columns,
    smooth: true,
  });
}

function divergenceFigure(run: Run): Figure | undefined {
  const distill = run.job?.guard?.distill;
  const temperature = distill && distill.temperature !== 1 ? `, both at temperature ${distill.temperature}` : '';
  return curvesFigure(run, {
    title: 'Divergence from the base',
    note: `KL(base || model) of the tokens that are distilled${temperature}, before each step: how far the model is from what it predicted.`,
    id: 'divergence',
    yLabel: 'nats per token',
    columns: [['divergence', run.metrics.distillKl, 4]],
    smooth: true,
    y: { include: 0 },
  });
}

function penaltyFigure(run: Run): Figure | undefined {
  const { ewc, l2 } = run.job?.guard ?? {};
  const guards = [...(ewc ? ['guard.ewc'] : []), ...(l2 ? ['guard.l2'] : [])].join(' and ') || 'a guard of the weights';
  return curvesFigure(run, {
    title: 'Penalty on the weights',
    note: `What ${guards} adds to the loss, which is drawn without it: it grows as the weights leave what holds them.`,
    id: 'penalty',
    yLabel: 'penalty (nats)',
    columns: [['penalty', run.metrics.penalty, 5]],
    y: { include: 0 },
  });
}

function lrFigure(run: Run): Figure | undefined {
  return curvesFigure(run, {
    title: 'Learning rate',
    note: 'As handed to the optimiser, step by step.',
    id: 'lr',
    yLabel: 'learning rate',
    marks: lrMarks(run),
    columns: [['learning rate', run.metrics.lr, 2]],
    y: { include: 0 },
    formatY: (ticks) => ticks.map(formatLr),
  });
}

function gradNormFigure(run: Run): Figure | undefined {
  const clipNorm = run.job?.optimizer.clipNorm;
  const [middle, high] = [quantile(run.metrics.gradNorm, 0.5) ?? 1, quantile(run.metrics.gradNorm, 1) ?? 1];
  const showClip = clipNorm !== undefined && clipNorm > 0 && clipNorm < 5 * high && clipNorm > middle / 20;
  return curvesFigure(run, {
    title: 'Gradient norm',
    note: `Before clipping${clipNorm ? `, which begins at ${clipNorm}` : ''}. Spikes that do not come down again are a warning.`,
    id: 'grad',
    alarms: ['gradNorm', 'nonFinite', 'spike'],
    yLabel: 'L2 norm of the gradient',
    columns: [['gradient norm', run.metrics.gradNorm, 3]],
    smooth: true,
    rawInFull: true,
    y: high > 8 * middle ? { kind: 'log' } : { include: 0 },
    levels: showClip ? [{ y: clipNorm, label: 'clip' }] : [],
  });
}

function speedFigure(run: Run): Figure | undefined {
  return curvesFigure(run, {
    title: 'Speed',
    note: 'Tokens trained on per second, evaluations and checkpoints not counted.',
    id: 'speed',
    alarms: ['speed', 'disk'],
    yLabel: 'tokens per second',
    columns: [['tokens per second', run.metrics.tokensPerSecond, 4]],
    smooth: true,
    y: { include: 0 },
  });
}

function heldOutFigure(run: Run, forecast: RunForecast | undefined): Figure | undefined {
  const measured = heldOutSeries(run, (bitsPerByte) => bitsPerByte);
  if (measured.length === 0) return undefined;
  const expected = forecastSeries(run, forecast);
  const series = [...expected, ...measured];
  const dashed =
    expected.length > 0 ? ` Dashed: the forecast made after step ${forecast!.madeAt}, with its 90 % interval.` : '';
  return {
    title: 'Held-out text: domain against general',
    note: `Bits per byte of documents that were never trained on; lower is better.${dashed}`,
    drawing: lineChart({
      id: 'heldout',
      description: 'Held-out bits per byte by set over steps',
      xLabel: stepLabel(run),
      yLabel: 'bits per byte',
      series,
      marks: [...phaseMarks(run), ...alarmMarks(run, ['general', 'overtraining', 'writing', 'tasks', 'epochs'])],
      x: { include: 0 },
    }),
  };
}

function changeFigure(run: Run): Figure | undefined {
  if (run.evals.length < 2) return undefined;
  const series = heldOutSeries(run, (bitsPerByte, before) => (100 * (bitsPerByte - before)) / before);
  if (series.length === 0) return undefined;
  const gaps = stabilityGaps(run).filter(({ isShown }) => isShown);
  const dips = gaps.map(({ step, set, first, worst }) => ({
    x: step,
    label: `${set}: gap, ${formatPercent((100 * (worst - first)) / first)}`,
  }));
  return {
    title: 'Learned and forgotten',
    note: `Change of the same scores since before training. Below the line: learned; above it: forgotten.${dips.length > 0 ? ' Gap: where it was worst before it recovered, told from chance by the documents.' : ''}`,
    drawing: lineChart({
      id: 'change',
      description: 'Change of held-out bits per byte since before training, percent',
      xLabel: stepLabel(run),
      yLabel: 'change in bits per byte (%)',
      series,
      levels: [{ y: 0, label: 'before' }],
      marks: [...phaseMarks(run), ...dips, ...alarmMarks(run, ['general', 'overtraining', 'writing', 'tasks'])],
      x: { include: 0 },
    }),
  };
}

function heldOutSeries(run: Run, value: (bitsPerByte: number, before: number) => number): Series[] {
  const colors = colorsOf(run);
  const names = [...new Set(run.evals.flatMap((record) => Object.keys(record.sets)))];
  return names.map((name, i) => {
    const scored = run.evals.filter((record) => Number.isFinite(record.sets[name]?.bitsPerByte));
    const before = scored[0]?.sets[name]?.bitsPerByte ?? Number.NaN;
    return {
      label: name,
      color: colors.get(name) ?? i % 7,
      points: scored.map((record) => ({ x: record.step, y: value(record.sets[name]!.bitsPerByte, before) })),
      dots: true,
    };
  });
}

function forecastSeries(run: Run, forecast: RunForecast | undefined): Series[] {
  const colors = colorsOf(run);
  return (forecast?.sets ?? [])
    .filter(({ points }) => points.length > 0)
    .map(({ name, points }, i) => ({
      label: `${name}, forecast`,
      color: colors.get(name) ?? i % 7,
      points: points.map(({ step, bitsPerByte }) => ({ x: step, y: bitsPerByte })),
      raw: points.map(({ step, low, high }) => ({ x: step, low, high })),
      rawInFull: true,
      expected: true,
    }));
}

/** Points of a role's pooled bits per byte, against tokens trained on. */
export function roleSeries(run: Run, role: 'domain' | 'general', label: string, color: number): Series {
  const points = run.evals.flatMap((record): Point[] => {
    const score = roleScore(record, role);
    return score ? [{ x: tokensAt(run, record.step), y: score.bitsPerByte }] : [];
  });
  return { label, color, points, dots: true };
}

/** The learning rate by steps done. */
export function lrPoints(run: Run): Point[] {
  return curve(run.metrics.lr, CHART_POINTS).map((point) => ({ x: point.step + 1, y: point.mean }));
}

/** Tokens trained on after `step` steps: as recorded, else as planned. */
function tokensAt(run: Run, step: number): number {
  const recorded = step === 0 ? 0 : run.metrics.tokens[step - 1];
  const perStep = run.job ? run.job.batch.seqLen * run.job.batch.sequencesPerStep : 1;
  return recorded !== undefined && Number.isFinite(recorded) ? recorded : step * perStep;
}

interface CurvesFigure {
  title: string;
  note: string;
  id: string;
  yLabel: string;
  columns: [label: string, values: Float64Array, color: number][];
  smooth?: boolean;
  rawInFull?: boolean;
  y?: LineChart['y'];
  levels?: LineChart['levels'];
  formatY?: LineChart['formatY'];
  /** Alarms that this curve shows. */
  alarms?: readonly AlarmName[];
  marks?: LineChart['marks'];
}

function curvesFigure(run: Run, figure: CurvesFigure): Figure | undefined {
  const series = figure.columns.flatMap(([label, values, color]): Series[] => {
    const points = curve(values, CHART_POINTS);
    if (points.length === 0) return [];
    // A point of the curve is after its step: step 0's loss belongs to 1 step done.
    const line = (figure.smooth ? smooth(points) : points.map((point) => point.mean)).map((y, i) => ({
      x: points[i]!.step + 1,
      y,
    }));
    const raw = figure.smooth ? points.map((point) => ({ x: point.step + 1, low: point.min, high: point.max })) : [];
    return [{ label, color, points: line, raw, rawInFull: figure.rawInFull }];
  });
  if (series.length === 0) return undefined;
  const drawing = lineChart({
    id: figure.id,
    description: `${figure.title} over steps`,
    xLabel: stepLabel(run),
    yLabel: figure.yLabel,
    series,
    marks: [...phaseMarks(run), ...alarmMarks(run, figure.alarms), ...(figure.marks ?? [])],
    levels: figure.levels,
    x: { include: 0 },
    y: figure.y,
    formatY: figure.formatY,
  });
  return { title: figure.title, note: figure.note, drawing };
}

/** Means over a triangular window around each point: no lag, unlike a running average. Short curves are left alone. */
export function smooth(points: readonly CurvePoint[]): number[] {
  const half = points.length < 20 ? 0 : Math.max(1, Math.round((points.length * SMOOTHING_SHARE) / 2));
  return points.map((_, i) => {
    let [sum, weights] = [0, 0];
    for (let j = Math.max(0, i - half); j <= Math.min(points.length - 1, i + half); j++) {
      const weight = half + 1 - Math.abs(i - j);
      sum += weight * points[j]!.mean;
      weights += weight;
    }
    return sum / weights;
  });
}

function phaseMarks(run: Run): { x: number; label: string }[] {
  const phases = run.plan?.phases ?? run.job?.phases ?? [];
  return phases.filter((phase) => phase.firstStep > 0).map((phase) => ({ x: phase.firstStep, label: phase.name }));
}

/** Where an alarm lowered it. */
function lrMarks(run: Run): { x: number; label: string }[] {
  return run.events.flatMap(({ type, step, lrFactor }) =>
    type === 'amendment' && step !== undefined && typeof lrFactor === 'number'
      ? [{ x: step, label: `times ${Number(lrFactor.toPrecision(2))}` }]
      : [],
  );
}

/** Where alarms of these names sounded; in the first of several at one place the others are named. */
function alarmMarks(run: Run, names: readonly AlarmName[] = []): { x: number; label: string }[] {
  const at = new Map<number, string[]>();
  for (const { type, step, alarm, subject } of run.events) {
    if (type !== 'alarm' || step === undefined || !names.includes(alarm as AlarmName)) continue;
    const label = subject === undefined ? String(alarm) : `${alarm} (${subject})`;
    const labels = at.get(step) ?? [];
    at.set(step, labels.includes(label) ? labels : [...labels, label]);
  }
  return [...at].map(([x, labels]) => ({ x, label: `alarm: ${labels.join(', ')}` }));
}

function stepLabel(run: Run): string {
  const batch = run.job?.batch;
  return batch ? `step (${formatCount(batch.seqLen * batch.sequencesPerStep)} tokens each)` : 'step';
}
