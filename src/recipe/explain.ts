// The page that `continuo plan` prints: plain text, at most 100 columns. It only words the plan; it derives nothing.
import { formatBytes, formatCount, formatSeconds } from '../base/units.ts';
import { formatLr, formatShare } from './learning-rates.ts';
import { explainFinding } from './probes.ts';
import { explainShift } from './shift.ts';
import { sketchLr } from './sketch.ts';
import type { Blend, Plan, PlanPhase, PlanWarning } from './types.ts';

const WIDTH = 100;
const NAME_WIDTH = 24;
/** Corpora that a page shows. */
const MAX_ROWS = 20;

export function explainPlan(plan: Plan): string {
  return [
    ...header(plan),
    ...section('WHAT HAPPENS', whatHappens(plan)),
    ...section('LEARNING RATE', sketchLr(plan)),
    ...section('TEXT', corporaTable(plan)),
    ...shiftSection(plan),
    ...probeSection(plan),
    ...section('CHECKS', explainChecks(plan)),
    ...section('COST', cost(plan)),
    ...section('WHY THESE NUMBERS', reasons(plan)),
    '',
  ].join('\n');
}

function header(plan: Plan): string[] {
  const { model } = plan;
  const kind = `${model.isInstruct ? 'instruct' : 'base'} model (${model.isInstructWhy})`;
  return [
    ...wrap(`Plan "${plan.name}": ${plan.preset}`, 0),
    ...wrap(plan.presetTitle, 2),
    '',
    ...labelled(
      'model',
      `${model.name}: ${formatCount(model.numParameters)} parameters (${formatCount(model.numNonEmbedding)} without embeddings${active(model)}), context ${model.context}, ${kind}`,
    ),
    ...labelled(
      'run',
      `${plan.numSteps} steps of ${formatCount(plan.tokensPerStep)} tokens (${plan.sequencesPerStep} x ${plan.seqLen}) = ${formatCount(plan.totalTokens)} tokens, ${plan.precision}`,
    ),
  ];
}

function active({ experts }: Plan['model']): string {
  if (!experts) return '';
  return `; ${formatCount(experts.numActive)} for a token, which passes ${experts.perToken} of ${experts.num} experts`;
}

function whatHappens(plan: Plan): string[] {
  const rows = plan.phases.map((phase, i) => [
    String(i + 1),
    phase.objective ? `${phase.name} (loss on answers)` : phase.name,
    `${phase.firstStep}-${phase.firstStep + phase.numSteps - 1}`,
    formatCount(phase.numTokens),
    `${formatLr(phase.lrFrom)} -> ${formatLr(phase.lrTo)}`,
    describeBlend(phase),
  ]);
  const sets = plan.corpora.filter((corpus) => corpus.heldOut.numTokens > 0).map((corpus) => corpus.name);
  return [
    ...wrap(`First, the model is measured as it is on held-out text (${firstNames(sets) || 'none'}). Then:`, 0),
    ...table(['', 'phase', 'steps', 'tokens', 'learning rate', 'blend'], rows),
    ...wrap(
      `Measured again every ${plan.evaluation.everySteps} steps and at the end; a checkpoint every ${plan.checkpoint.everySteps} steps, the last ${plan.checkpoint.keep} are kept${keptAlways(plan)}.`,
      0,
    ),
  ];
}

function firstNames(names: readonly string[]): string {
  const rest = names.length - MAX_ROWS;
  return [...names.slice(0, MAX_ROWS), ...(rest > 0 ? [`${rest} more`] : [])].join(', ');
}

function keptAlways({ checkpoint }: Plan): string {
  const steps = checkpoint.always ?? [];
  return steps.length > 0 ? `, and that of step ${steps.join(', ')} for ever: the next run can go on from it` : '';
}

/** Shares of the corpora; of many, the first. */
function describeBlend({ blend, blendTo }: PlanPhase): string {
  const names = [...new Set([...Object.keys(blend), ...Object.keys(blendTo ?? {})])];
  const share = (of: Blend | undefined, name: string) => formatShare(of?.[name] ?? 0);
  const shown = names.slice(0, MAX_ROWS);
  const rest = names.length - shown.length;
  return [
    ...shown.map((name) => `${shortName(name)} ${share(blend, name)}${blendTo ? ` -> ${share(blendTo, name)}` : ''}`),
    ...(rest > 0 ? [`${rest} more`] : []),
  ].join(', ');
}

function corporaTable(plan: Plan): string[] {
  const trainedOn = (name: string) => plan.expected.tokensByCorpus[name] ?? 0;
  const shown =
    plan.corpora.length <= MAX_ROWS
      ? plan.corpora
      : plan.corpora.toSorted((a, b) => trainedOn(b.name) - trainedOn(a.name)).slice(0, MAX_ROWS);
  const rows = shown.map((corpus) => {
    const trained = plan.expected.tokensByCorpus[corpus.name];
    return [
      shortName(corpus.name),
      corpus.role,
      formatCount(corpus.numTokens),
      formatCount(corpus.numDocuments),
      trained === undefined ? 'not trained on' : formatCount(trained),
      trained === undefined ? '' : (plan.expected.epochsByCorpus[corpus.name] ?? 0).toFixed(2),
      corpus.heldOut.numTokens > 0
        ? `${formatCount(corpus.heldOut.numTokens)} in ${corpus.heldOut.numDocuments} documents`
        : 'nothing',
    ];
  });
  const rest = plan.corpora.length - shown.length;
  return [
    ...table(['corpus', 'role', 'tokens', 'documents', 'trained on', 'epochs', 'held out'], rows),
    ...(rest > 0 ? [`and ${rest} more: plan.json has them`] : []),
  ];
}

function shiftSection({ shift }: Plan): string[] {
  if (!shift) return [];
  const lines = explainShift(shift).flatMap((line) => wrap(line, 0, 2));
  return section('SHIFT', lines);
}

function probeSection({ probes, preset }: Plan): string[] {
  const lines = (['lr', 'mix'] as const).flatMap((kind) => {
    const finding = probes?.[kind];
    return finding ? explainFinding(finding, preset).flatMap((line) => wrap(line, 0, 2)) : [];
  });
  return lines.length > 0 ? section('PROBES', lines) : [];
}

/** What the rules found, as lines. */
export function explainChecks({ warnings }: Pick<Plan, 'warnings'>): string[] {
  return warnings.length > 0 ? warnings.flatMap(explainWarning) : ['No known pitfall.'];
}

function explainWarning(warning: PlanWarning): string[] {
  const mark = { error: 'ERROR', warning: 'WARNING', note: 'note' }[warning.severity];
  return [
    ...wrap(`${mark} ${warning.id}: ${warning.message}`, 0, 2),
    ...wrap(`Found: ${warning.evidence}.`, 2, 4),
    ...wrap(`Do: ${warning.fix}`, 2, 4),
    ...wrap(`Source: ${warning.source}.`, 2, 4),
  ];
}

function cost(plan: Plan): string[] {
  const { seconds, memory } = plan.expected;
  const parts = [
    `parameters with gradients and moments ${formatBytes(memory.stateBytes)}`,
    `activations ${formatBytes(memory.activationBytes)}`,
    `program ${formatBytes(memory.programBytes)}`,
  ];
  return [
    ...labelled(
      'time',
      seconds === undefined
        ? 'not estimated (the training speed here is not known yet)'
        : `about ${formatSeconds(seconds)}`,
    ),
    ...labelled('memory', `about ${formatBytes(memory.totalBytes)}: ${parts.join(', ')}`),
  ];
}

function reasons(plan: Plan): string[] {
  return plan.reasons.flatMap(({ what, value, why, source }) =>
    wrap(`${what}: ${value}. Why: ${why}. [${source}]`, 0, 4),
  );
}

function section(title: string, lines: string[]): string[] {
  return ['', title, ...lines.map((line) => (line === '' ? '' : `  ${line}`))];
}

function labelled(label: string, text: string): string[] {
  const indent = 8;
  const [first = '', ...rest] = wrap(text, 0, 0, WIDTH - indent - 4);
  return [`${label.padEnd(indent)}${first}`, ...rest.map((line) => `${' '.repeat(indent)}${line}`)];
}

/** A corpus' name in a table. */
function shortName(name: string): string {
  return name.length <= NAME_WIDTH ? name : `${name.slice(0, NAME_WIDTH - 3)}...`;
}

/** Lines of at most `width` columns; a word longer than that stays whole. */
function wrap(text: string, firstIndent: number, indent = firstIndent, width = WIDTH - 4): string[] {
  const lines: string[] = [];
  let line = ' '.repeat(firstIndent);
  let isEmpty = true;
  // A number and its percent sign stay together.
  for (const word of text.split(/ (?!%)/)) {
    if (!isEmpty && line.length + 1 + word.length > width) {
      lines.push(line);
      line = ' '.repeat(indent);
      isEmpty = true;
    }
    line += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  lines.push(line);
  return lines;
}

/** Columns of equal width; the last one is wrapped below itself. */
function table(head: string[], rows: string[][]): string[] {
  const all = [head, ...rows];
  const widths = head.map((_, column) => Math.max(...all.map((row) => row[column]!.length)));
  const before = widths.slice(0, -1).reduce((sum, width) => sum + width + 2, 0);
  return all.flatMap((row) => {
    const lead = row
      .slice(0, -1)
      .map((cell, column) => cell.padEnd(widths[column]! + 2))
      .join('');
    const [first = '', ...rest] = wrap(row.at(-1)!, 0, 0, Math.max(24, WIDTH - 4 - before));
    return [`${lead}${first}`.trimEnd(), ...rest.map((line) => `${' '.repeat(before)}${line}`)];
  });
}
