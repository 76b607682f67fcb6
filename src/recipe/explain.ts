// The page that `continuo plan` prints: plain text, at most 100 columns. It only words the plan; it derives nothing.
import { formatBytes, formatCount, formatSeconds } from '../base/units.ts';
import type { Advice } from './advisor.ts';
import type { CostEstimate, GpuCost } from './cost.ts';
import { formatLr, formatShare } from './learning-rates.ts';
import { explainFinding } from './probes.ts';
import { explainShift } from './shift.ts';
import { sketchLr } from './sketch.ts';
import type { Blend, Plan, PlanPhase, PlanWarning, PretrainingFacts } from './types.ts';

const WIDTH = 100;
const NAME_WIDTH = 24;
/** Corpora that a page shows. */
const MAX_ROWS = 20;
/** Languages named for a corpus. */
const MAX_LANGUAGES = 3;

export function explainPlan(plan: Plan): string {
  return [
    ...header(plan),
    ...section('WHAT HAPPENS', whatHappens(plan)),
    ...section('LEARNING RATE', sketchLr(plan)),
    ...section('TEXT', [...corporaTable(plan), ...statisticsTable(plan)]),
    ...shiftSection(plan),
    ...probeSection(plan),
    ...(plan.advice ? section('ADVICE', adviceLines(plan.advice)) : []),
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
      `${model.name}: ${model.family === undefined ? '' : `${model.family}, `}${formatCount(model.numParameters)} parameters (${formatCount(model.numNonEmbedding)} without embeddings${active(model)}), context ${model.context}, ${kind}`,
    ),
    ...(model.tokenizer ? labelled('tokens', tokenizer(model.tokenizer)) : []),
    ...(model.pretraining ? labelled('before', `pretrained on ${describePretraining(model.pretraining)}`) : []),
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

function tokenizer({ kind, vocabSize, hasChatTemplate }: NonNullable<Plan['model']['tokenizer']>): string {
  return `${kind}, ${formatCount(vocabSize)} entries, ${hasChatTemplate ? 'with a chat template' : 'no chat template'}`;
}

/** What is known of the model's pretraining; what is not is said to be. */
export function describePretraining({
  tokens,
  peakLr,
  finalLr,
  batchTokens,
  source,
  published,
}: PretrainingFacts): string {
  const count = (n: number | undefined) => (n === undefined ? 'unknown' : formatCount(n));
  const lr = (n: number | undefined) => (n === undefined ? 'unknown' : formatLr(n));
  return `${count(tokens)} tokens, peak LR ${lr(peakLr)}, final LR ${lr(finalLr)}, ${count(batchTokens)} tokens a step [${published ? 'published: ' : ''}${source}]`;
}

function whatHappens(plan: Plan): string[] {
  const rows = plan.phases.map((phase, i) => [
    String(i + 1),
    phaseName(phase),
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

function phaseName({ name, objective, seqLen }: PlanPhase): string {
  const notes = [...(seqLen ? [`sequences of ${seqLen}`] : []), ...(objective ? ['loss on answers'] : [])];
  return notes.length > 0 ? `${name} (${notes.join(', ')})` : name;
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

/** What the text is, where the corpora say so. */
function statisticsTable(plan: Plan): string[] {
  const known = plan.corpora.slice(0, MAX_ROWS).filter((corpus) => corpus.tokensPerWord !== undefined);
  if (known.length === 0) return [];
  const rows = known.map((corpus) => [
    shortName(corpus.name),
    formatBytes(corpus.numBytes),
    formatCount(corpus.numWords ?? 0),
    (corpus.numBytes / corpus.numTokens).toFixed(2),
    corpus.tokensPerWord!.toFixed(2),
    formatCount(corpus.numCopies ?? 0),
    Object.entries(corpus.languages ?? {})
      .slice(0, MAX_LANGUAGES)
      .map(([language, share]) => `${language} ${formatShare(share)}`)
      .join(', '),
  ]);
  return ['', ...table(['corpus', 'size', 'words', 'bytes/token', 'tokens/word', 'copies', 'language'], rows)];
}

function adviceLines({ answer, agrees, summary, reasons: given }: Advice): string[] {
  const name = { base: 'base', instruct: 'instruct', residual: 'base, then the instruct difference' }[answer];
  return [
    ...wrap(`Base or instruct: ${name}${agrees ? '' : ' (NOT what you gave)'}. That is, ${summary}.`, 0),
    ...given.flatMap(({ answer: about, weight, text, source }) =>
      wrap(`${weight > 0 ? '+' : ''}${weight} ${about}: ${text} [${source}]`, 2, 5),
    ),
  ];
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
  const { seconds, memory, cost: estimate } = plan.expected;

  const parts = [
    `parameters with gradients and moments ${formatBytes(memory.stateBytes)}`,
    `activations ${formatBytes(memory.activationBytes)}`,
    `program ${formatBytes(memory.programBytes)}`,
  ];
  const here = [
    ...labelled(
      'time',
      seconds === undefined
        ? 'not estimated (the training speed here is not known yet)'
        : `about ${formatSeconds(seconds)}${estimate?.here ? `, ${formatDollars(estimate.here.dollars)} at ${formatDollars(estimate.here.pricePerHour)} an hour` : ''}`,
    ),
    ...labelled('memory', `about ${formatBytes(memory.totalBytes)}: ${parts.join(', ')}`),
  ];
  if (!estimate) return here;
  return [
    ...labelled('work', work(estimate)),
    ...(estimate.gpus.isAsked ? onGpus(estimate.gpus) : [...here, ...labelled('or', compareGpu(estimate.gpus))]),
  ];
}

function work({ trainFlops, evalFlops }: CostEstimate): string {
  const share = evalFlops / (trainFlops + evalFlops);
  const measuring = share >= 0.001 ? `; ${formatShare(share)} of it for measuring` : '';
  return `${(trainFlops + evalFlops).toExponential(2).replace('e+', 'e')} operations: 6 a token and parameter in a matrix, and attention${measuring}`;
}

function onGpus(gpus: GpuCost): string[] {
  const { numGpus, gpu, numBusy, fit, tokensPerSecond } = gpus;
  const { memory, leastGpus } = fit;
  const rows: [number, string][] = [
    [memory.weightBytes, 'its part of the weights'],
    [memory.gradientBytes, 'of the gradients'],
    [memory.momentBytes, 'of the moments'],
    [memory.besideBytes, 'of what is kept beside them'],
    [memory.gatheredBytes, 'weights and gradients that are whole meanwhile'],
    [memory.activationBytes, 'activations'],
    [memory.logitBytes, 'logits'],
    [fit.runtimeBytes, 'CUDA and libraries (assumption)'],
  ];
  const parts = rows.filter(([bytes]) => bytes > 0).map(([bytes, what]) => `${formatBytes(bytes)} ${what}`);
  const advice =
    leastGpus === undefined
      ? 'No number of them is enough: one sequence alone is too much; lower training.seqLen'
      : leastGpus <= numGpus
        ? 'Fewer sequences a pass (training.microBatch), or training.recompute, would fit'
        : `${leastGpus} would be enough`;
  const { kept, selective, full } = fit.largest;
  const sequences = (n: number) => (n === 0 ? 'none' : `${n}`);
  return [
    ...labelled('on', `${numGpus} x ${gpu}${numBusy < numGpus ? `, ${numBusy} of them busy` : ''}`),
    ...labelled(
      'time',
      `about ${formatSeconds(gpus.seconds)}, ${formatCount(tokensPerSecond)} tokens/s while it trains`,
    ),
    ...labelled(
      'money',
      `about ${formatDollars(gpus.dollars)}: ${formatDollars(gpus.pricePerHour)} a GPU and hour; give yours with --price`,
    ),
    ...labelled(
      'memory',
      `about ${formatBytes(fit.totalBytes)} of the ${formatBytes(gpus.memoryBytes)} of each GPU: ${parts.join(', ')}. ${fit.fits ? 'It fits' : `It DOES NOT FIT. ${advice}`}.`,
    ),
    ...labelled(
      'pass',
      `${fit.microBatch} of the ${fit.share} ${fit.share === 1 ? 'sequence' : 'sequences'} that a GPU has of a step, ${RECOMPUTED[String(fit.recompute)]}. The most that fit: ${sequences(kept)} with all kept, ${sequences(selective)} with recompute: selective, ${sequences(full)} with recompute: full.`,
    ),
    ...(gpus.note ? labelled('note', gpus.note) : []),
    ...labelled('sources', gpus.sources.join('; ')),
  ];
}

const RECOMPUTED: Record<string, string> = {
  false: 'activations kept',
  selective: 'some of the activations made again (recompute: selective)',
  true: 'layers run again (recompute: full)',
};

function compareGpu(gpus: GpuCost): string {
  const where = gpus.numGpus === 1 ? `one ${gpus.gpu}` : `${gpus.numGpus} x ${gpus.gpu}, the fewest that it fits on`;
  const remarks = [
    ...(gpus.fit.fits ? [] : ['it would not fit on any number of them']),
    ...(gpus.note === undefined ? [] : [gpus.note]),
  ];
  return `about ${formatSeconds(gpus.seconds)} and ${formatDollars(gpus.dollars)} on ${where}, ${formatDollars(gpus.pricePerHour)} an hour each and ${formatShare(gpus.utilisation)} of the peak assumed${remarks.map((remark) => `; ${remark}`).join('')} (--on h100x8 for others)`;
}

/** "$0.03", "$1,234". */
function formatDollars(dollars: number): string {
  if (dollars >= 100) return `$${Math.round(dollars).toLocaleString('en-US')}`;
  return `$${dollars >= 0.095 || dollars === 0 ? dollars.toFixed(2) : dollars.toPrecision(1)}`;
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
