// A plan as a picture that stands alone: LR above, blend below, over the tokens of the run.
import { formatCount } from '../base/units.ts';
import { blendOfStep, largestCorpora, lrAt, type Plan } from '../recipe/index.ts';
import { escapeXml, lineChart, type Point } from './chart.ts';
import { formatLr } from './format.ts';
import { formatTicks, scaleOver } from './scale.ts';
import { standalone } from './style.ts';

const [WIDTH, LR_HEIGHT, BLEND_HEIGHT] = [760, 260, 240];
const POINTS = 400;
/** Corpora with a colour of their own. */
const MAX_COLORS = 6;
const OTHER_COLOR = 6;
const MAX_NAME = 20;

/** An SVG file. */
export function planFigure(plan: Plan): string {
  const points = samples(plan);
  const lr = lineChart({
    id: 'plan-lr',
    description: 'Learning rate over the tokens of the run',
    xLabel: '',
    yLabel: 'learning rate',
    series: [
      { label: 'learning rate', color: 0, points: points.map(({ tokens, lr }): Point => ({ x: tokens, y: lr })) },
    ],
    marks: plan.phases.slice(1).map((phase) => ({ x: phase.firstStep * plan.tokensPerStep, label: phase.name })),
    y: { include: 0 },
    formatY: (ticks) => ticks.map(formatLr),
    width: plotRight(plan) + 12,
    height: LR_HEIGHT,
    left: PLOT_LEFT,
  });
  const title = `${plan.name}: ${plan.preset}, ${formatCount(plan.totalTokens)} tokens`;
  const nested = (svg: string, y: number, width: number, height: number) =>
    svg.replace('<svg ', `<svg x="16" y="${y}" width="${width}" height="${height}" `);
  const height = 44 + LR_HEIGHT + BLEND_HEIGHT + 36;
  return standalone(
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH + 32} ${height}" width="${WIDTH + 32}" height="${height}" role="img">`,
      `<title>${escapeXml(title)}</title><style></style>`,
      `<rect width="100%" height="100%" style="fill:var(--page)"/>`,
      `<text x="16" y="28" style="font-size:15px;font-weight:650">${escapeXml(title)}</text>`,
      nested(lr, 44, plotRight(plan) + 12, LR_HEIGHT),
      nested(blendChart(plan, points), 44 + LR_HEIGHT + 16, WIDTH, BLEND_HEIGHT),
      '</svg>',
    ].join(''),
  );
}

const PLOT_LEFT = 56;

/** Labels of corpora stand to the right of both charts. */
function plotRight(plan: Plan): number {
  const lengths = largestCorpora(plan, MAX_COLORS).map((name) => Math.min(name.length, MAX_NAME));
  return WIDTH - 8 * Math.max(10, ...lengths) - 24;
}

function samples({ schedule, phases, numSteps, tokensPerStep }: Plan) {
  const edges = phases.flatMap(({ firstStep, numSteps: n }) => [firstStep, firstStep + n - 1]);
  const even = Array.from({ length: POINTS }, (_, i) => Math.round((i / (POINTS - 1)) * (numSteps - 1)));
  return [...new Set([...edges, ...even])]
    .toSorted((a, b) => a - b)
    .map((step) => ({ tokens: step * tokensPerStep, lr: lrAt(schedule, step), blend: blendOfStep(phases, step) }));
}

/** Shares, stacked; each labelled at the right where it ends. */
function blendChart(plan: Plan, points: ReturnType<typeof samples>): string {
  const named = largestCorpora(plan, MAX_COLORS);
  const numOthers = plan.corpora.filter(({ name }) => plan.expected.tokensByCorpus[name]).length - named.length;
  const box = { left: PLOT_LEFT, right: plotRight(plan), top: 26, bottom: BLEND_HEIGHT - 38 };
  const x = scaleOver(
    points.map(({ tokens }) => tokens),
    { nice: false, numTicks: 6 },
  );
  const px = (tokens: number) => (box.left + ((tokens - x.min) / (x.max - x.min)) * (box.right - box.left)).toFixed(1);
  const py = (share: number) => (box.bottom - share * (box.bottom - box.top)).toFixed(1);
  const bands = [
    ...named.map((name, i) => ({ name, color: i })),
    ...(numOthers > 0 ? [{ name: '', color: OTHER_COLOR }] : []),
  ];
  const parts: string[] = [];
  let below = points.map(() => 0);
  for (const { name, color } of bands) {
    const above = points.map(({ blend }, i) => (name === '' ? 1 : below[i]! + (blend[name] ?? 0)));
    const up = points.map(({ tokens }, i) => `${px(tokens)} ${py(above[i]!)}`);
    const down = points.map(({ tokens }, i) => `${px(tokens)} ${py(below[i]!)}`).reverse();
    parts.push(`<path d="M${[...up, ...down].join('L')}Z" style="fill:var(--c${color});opacity:.85"/>`);
    // Where it is widest: a corpus may be gone at the end.
    const last = points.findLastIndex((_, i) => above[i]! - below[i]! > 0.02);
    if (last >= 0) {
      const middle = (above[last]! + below[last]!) / 2;
      const text =
        name === '' ? `${numOthers} more` : name.length > MAX_NAME ? `${name.slice(0, MAX_NAME - 1)}…` : name;
      parts.push(
        `<text class="end" style="fill:var(--c${color})" x="${box.right + 8}" y="${Number(py(middle)) + 4}">${escapeXml(text)}</text>`,
      );
    }
    below = above;
  }
  const ticks = formatTicks(x.ticks);
  const axis = [
    `<path class="axis" d="M${box.left} ${box.bottom}H${box.right}"/>`,
    ...x.ticks.map(
      (tick, i) =>
        `<path class="axis" d="M${px(tick)} ${box.bottom}v4"/><text class="tick" x="${px(tick)}" y="${box.bottom + 17}" text-anchor="middle">${ticks[i]}</text>`,
    ),
    ...[0, 0.5, 1].map(
      (share) =>
        `<text class="tick" x="${box.left - 6}" y="${Number(py(share)) + 4}" text-anchor="end">${100 * share} %</text>`,
    ),
    `<text class="label" x="0" y="12">share of the tokens</text>`,
    `<text class="label" x="${box.right}" y="${BLEND_HEIGHT - 4}" text-anchor="end">tokens</text>`,
  ];
  return `<svg viewBox="0 0 ${WIDTH} ${BLEND_HEIGHT}">${[...parts, ...axis].join('')}</svg>`;
}
