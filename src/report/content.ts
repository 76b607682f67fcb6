// What a report says, as text and tables, before any markup: report.html and report.md are two renderings of it. Every sentence is
// computed from recorded figures, and says so where a figure is missing.
import * as path from 'node:path';
import { formatBytes, formatCount, formatSeconds } from '../base/units.ts';
import { bestText, type Change, type Run, type RunEvent, type RunForecast, type RunSummary } from '../runs/index.ts';
import { formatDelta, formatError, formatLr, formatPercent, formatRate, formatScore, NONE, plural } from './format.ts';
import { type Learned, learnedOfRun } from './learned.ts';

export interface Table {
  columns: { title: string; align?: 'right' }[];
  rows: string[][];
  /** Index of a row to stress. */
  stress?: number;
}

export interface Warning {
  severity: string;
  message: string;
  /** Evidence and remedy. */
  detail: string;
  source: string;
}

export interface Content {
  title: string;
  status: string;
  headline: string;
  /** What a reader should know before believing the headline. */
  notes: string[];
  /** What it learned and forgot; absent where nothing was measured twice. */
  learned: Learned | undefined;
  scores: Table | undefined;
  /** The errors of the changes are those of pairs of documents. */
  arePaired: boolean;
  /** What was expected of the end, and from when. */
  forecast: { sentence: string; table: Table } | undefined;
  corpora: Table | undefined;
  phases: Table | undefined;
  reasons: Table | undefined;
  warnings: Warning[];
  facts: [name: string, value: string][];
  /** Shell commands, each with what it does. */
  commands: { what: string; command: string }[];
}

export function contentOf(run: Run, summary: RunSummary, forecast?: RunForecast): Content {
  return {
    title: run.name,
    status: statusLine(summary),
    headline: headline(run, summary),
    notes: notesOf(run, summary),
    learned: learnedOfRun(run, summary),
    scores: scoresTable(run, summary),
    arePaired: summary.sets.every(({ isPaired }) => isPaired),
    forecast: forecastContent(run, forecast),
    corpora: corporaTable(run),
    phases: phasesTable(run),
    reasons: reasonsTable(run),
    warnings: (run.plan?.warnings ?? []).map(({ severity, message, evidence, fix, source }) => ({
      severity,
      message,
      detail: [evidence, fix].filter(Boolean).map(asSentence).join(' '),
      source,
    })),
    facts: factsOf(run, summary),
    commands: commandsOf(run, summary),
  };
}

/** The result in one sentence. */
export function headline(run: Run, summary: RunSummary): string {
  const parts = [
    summary.domain && `Domain bits per byte ${movement(summary.domain)}`,
    summary.general && `${summary.domain ? 'general' : 'General bits per byte'} ${movement(summary.general)}`,
  ].filter((part) => part !== undefined);
  if (parts.length > 0) return `${parts.join('; ')}.`;
  if (run.evals.length > 0 && summary.sets.length === 0) return 'Scored once so far: nothing to compare yet.';
  return summary.sets.length > 0
    ? `${summary.sets[0]!.name}: bits per byte ${movement(summary.sets[0]!)}.`
    : 'No held-out scores were recorded.';
}

/** "fell from 1.620 to 1.310 (−19.1 %)"; says when the change is inside its own error. */
export function movement(change: Change): string {
  const [first, last] = [formatScore(change.first), formatScore(change.last)];
  if (first === last) return `stayed at ${first}`;
  const noise =
    change.stderr !== undefined && Math.abs(change.delta) < 2 * change.stderr ? ', within two standard errors' : '';
  return `${change.delta < 0 ? 'fell' : 'rose'} from ${first} to ${last} (${formatPercent(change.deltaPercent)}${noise})`;
}

function statusLine(summary: RunSummary): string {
  const steps =
    summary.plannedSteps === undefined
      ? plural(summary.numSteps, 'step')
      : `${summary.numSteps} of ${plural(summary.plannedSteps, 'step')}`;
  return `${summary.status}, ${steps}, ${formatCount(summary.tokens)} tokens`;
}

function notesOf(run: Run, summary: RunSummary): string[] {
  const notes = [];
  if (summary.status !== 'finished')
    notes.push(`The run is ${summary.status}: the last scores are of ${lastScoredStep(run)}, not of the planned end.`);
  const error = run.events.findLast((event) => event.type === 'error');
  if (error && summary.status === 'failed') notes.push(`It ended with an error: ${error.message ?? 'unknown'}.`);
  if (run.evals.length > 0 && !hasRole(run, 'general'))
    notes.push('There is no held-out set with the role "general": this report cannot say what was forgotten.');
  if (run.evals.length > 0 && !hasRole(run, 'domain'))
    notes.push('There is no held-out set with the role "domain": this report cannot say what was learned.');
  notes.push(...summary.alarms.map((alarm) => `Alarm: ${alarm}`));
  const numLost = [...run.metrics.loss].filter((loss) => !Number.isFinite(loss)).length;
  if (numLost > 0) notes.push(`${plural(numLost, 'step')} without a finite loss.`);
  if (run.metrics.numSkippedLines > 0)
    notes.push(`${plural(run.metrics.numSkippedLines, 'line')} of metrics.jsonl were torn by a crash and left out.`);
  return notes;
}

function lastScoredStep(run: Run): string {
  const last = run.evals.at(-1);
  return last ? `step ${last.step}` : 'no step';
}

function hasRole(run: Run, role: string): boolean {
  return run.evals.some((record) => Object.values(record.sets).some((score) => score.role === role));
}

const MAX_EVAL_COLUMNS = 6;

/** Bits per byte by set: before, up to four evaluations on the way, after, and the change. */
function scoresTable(run: Run, summary: RunSummary): Table | undefined {
  if (run.evals.length === 0) return undefined;
  const numShown = Math.min(MAX_EVAL_COLUMNS, run.evals.length);
  const shown = Array.from(
    { length: numShown },
    (_, i) => run.evals[Math.round((i * (run.evals.length - 1)) / Math.max(1, numShown - 1))]!,
  );
  const names = [...new Set(run.evals.flatMap((record) => Object.keys(record.sets)))];
  const label = (step: number, i: number): string =>
    i === 0 && step === 0 ? 'before' : i === shown.length - 1 && step > 0 ? `after ${step}` : `step ${step}`;
  return {
    columns: [
      { title: 'held-out set' },
      { title: 'role' },
      ...shown.map((record, i) => ({ title: label(record.step, i), align: 'right' as const })),
      { title: 'change', align: 'right' },
      { title: '%', align: 'right' },
      { title: 'text', align: 'right' },
    ],
    rows: names.map((name) => {
      const any = run.evals.find((record) => record.sets[name])!.sets[name]!;
      const change = summary.sets.find((set) => set.name === name);
      const error = change?.stderr === undefined ? '' : ` ± ${formatError(change.stderr)}`;
      return [
        name,
        any.role,
        ...shown.map((record) => formatScore(record.sets[name]?.bitsPerByte)),
        `${formatDelta(change?.delta)}${error}`,
        formatPercent(change?.deltaPercent),
        `${formatBytes(any.numBytes)}, ${plural(any.numDocuments, 'doc')}`,
      ];
    }),
  };
}

/** A forecast, or why there is none; where the end has been scored, beside what came, and nothing where there was none. */
function forecastContent(run: Run, forecast: RunForecast | undefined): Content['forecast'] {
  if (!forecast || forecast.sets.length === 0) return undefined;
  const { madeAt, numSteps, sets } = forecast;
  const end = run.evals.find(({ step }) => step === numSteps);
  if (end && sets.every(({ points }) => points.length === 0)) return undefined;
  const rows = sets.map(({ name, points, why }) => {
    const last = points.at(-1);
    const came = end?.sets[name]?.bitsPerByte;
    const interval = last ? `${formatScore(last.low)} to ${formatScore(last.high)}` : NONE;
    const inside = last && came !== undefined ? (came >= last.low && came <= last.high ? 'yes' : 'no') : NONE;
    return [
      name,
      last ? formatScore(last.bitsPerByte) : `none: ${why}`,
      interval,
      ...(end ? [formatScore(came), inside] : []),
    ];
  });
  const right = { align: 'right' as const };
  const columns = [
    { title: 'held-out set' },
    { title: `forecast for step ${numSteps}`, ...right },
    { title: '90 % interval', ...right },
    ...(end
      ? [
          { title: 'came', ...right },
          { title: 'inside', ...right },
        ]
      : []),
  ];
  return {
    sentence: `Bits per byte, as the LR-annealing law (Tissue et al. 2024; Wang et al. 2025) has it from what was recorded up to step ${madeAt}${end ? ', half-way' : ''}.`,
    table: { columns, rows },
  };
}

/** "from step 200: handbook 1.312 ± 0.012, web 1.107 ± 0.020", with what came where the end is known; undefined where nothing is determined. */
export function forecastText(run: Run, forecast: RunForecast | undefined): string | undefined {
  const end = run.evals.find(({ step }) => step === forecast?.numSteps);
  const parts = (forecast?.sets ?? []).flatMap(({ name, points }) => {
    const last = points.at(-1);
    if (!last) return [];
    const came = end?.sets[name]?.bitsPerByte;
    const beside = came === undefined ? '' : ` (came ${formatScore(came)})`;
    return [`${name} ${formatScore(last.bitsPerByte)} ± ${formatScore((last.high - last.low) / 2)}${beside}`];
  });
  return parts.length > 0 ? `from step ${forecast!.madeAt}: ${parts.join(', ')}` : undefined;
}

function corporaTable(run: Run): Table | undefined {
  const plan = run.plan;
  if (!plan?.corpora.length) return undefined;
  return {
    columns: [
      { title: 'corpus' },
      { title: 'role' },
      { title: 'documents', align: 'right' },
      { title: 'tokens', align: 'right' },
      { title: 'held out', align: 'right' },
      { title: 'trained on', align: 'right' },
      { title: 'passes', align: 'right' },
    ],
    rows: plan.corpora.map((corpus) => [
      corpus.name,
      corpus.role,
      formatCount(corpus.numDocuments),
      formatCount(corpus.numTokens),
      `${plural(corpus.heldOut.numDocuments, 'doc')}, ${formatCount(corpus.heldOut.numTokens)} tokens`,
      `${formatCount(plan.expected.tokensByCorpus[corpus.name] ?? 0)} tokens`,
      (plan.expected.epochsByCorpus[corpus.name] ?? 0).toFixed(2),
    ]),
  };
}

function phasesTable(run: Run): Table | undefined {
  const phases = run.plan?.phases;
  if (!phases?.length) return undefined;
  return {
    columns: [
      { title: 'phase' },
      { title: 'steps', align: 'right' },
      { title: 'tokens', align: 'right' },
      { title: 'learning rate' },
      { title: 'blend' },
    ],
    rows: phases.map((phase) => [
      phase.seqLen ? `${phase.name} (sequences of ${phase.seqLen})` : phase.name,
      `${phase.firstStep + 1} to ${phase.firstStep + phase.numSteps}`,
      formatCount(phase.numTokens),
      `${formatLr(phase.lrFrom)} to ${formatLr(phase.lrTo)}`,
      Object.entries(phase.blend)
        .map(([corpus, share]) => `${corpus} ${Number((100 * share).toFixed(1))} %`)
        .join(', '),
    ]),
  };
}

function reasonsTable(run: Run): Table | undefined {
  const reasons = run.plan?.reasons;
  if (!reasons?.length) return undefined;
  return {
    columns: [{ title: 'number' }, { title: 'value' }, { title: 'why' }, { title: 'source' }],
    rows: reasons.map(({ what, value, why, source }) => [what, String(value), why, source]),
  };
}

function factsOf(run: Run, summary: RunSummary): [string, string][] {
  const { plan, job } = run;
  const start = run.events.findLast((event) => event.type === 'start' || event.type === 'resume');
  const facts: [string, string | undefined][] = [
    ['model', plan?.model.name ?? job?.model],
    ['read from', plan && job?.model],
    [
      'parameters',
      plan &&
        `${formatCount(plan.model.numParameters)}, of which ${formatCount(plan.model.numNonEmbedding)} outside the embedding${activeText(plan)}`,
    ],
    ['recipe', plan && `${plan.preset}: ${plan.presetTitle}`],
    ['engine', started(start, 'engine')],
    ['kernels', started(start, 'kernels', 'variant')],
    ['threads', started(start, 'threads', 'numThreads')],
    ['machine', started(start, 'machine', 'cpu')],
    ['precision', job?.precision],
    ['batch', job && `${plural(job.batch.sequencesPerStep, 'sequence')} of ${job.batch.seqLen} tokens a step`],
    ['optimiser', job && optimizerText(job.optimizer)],
    ['routers', job?.routers && `load-balancing loss times ${job.routers.balance}, z-loss times ${job.routers.z}`],
    ['average of the weights', averageText(run)],
    ['seed', job && String(job.seed)],
    ['tokens', formatCount(summary.tokens)],
    ['steps', statusLine(summary).split(', ')[1]],
    [
      'training time',
      `${formatSeconds(summary.trainSeconds)}${plan?.expected.seconds === undefined ? '' : ` (planned: ${formatSeconds(plan.expected.seconds)})`}`,
    ],
    ['first to last event', summary.wallSeconds === undefined ? undefined : formatSeconds(summary.wallSeconds)],
    [
      'speed (median)',
      summary.tokensPerSecond === undefined ? undefined : `${formatRate(summary.tokensPerSecond)} tokens/s`,
    ],
    ['peak memory', memoryText(summary)],
    ['interruptions', interruptions(summary)],
    ['checkpoint', summary.checkpoint ?? 'none yet'],
    ['best checkpoint', bestText(summary)],
    ['job fingerprint', job?.fingerprint],
  ];
  return facts.filter((fact): fact is [string, string] => fact[1] !== undefined);
}

function interruptions({ numStops, numCrashes }: RunSummary): string {
  const parts = [
    numStops > 0 && `stopped ${times(numStops)}`,
    numCrashes > 0 && `crashed or killed ${times(numCrashes)}`,
  ];
  return numStops + numCrashes === 0
    ? 'none'
    : `${parts.filter(Boolean).join(', ')}; resumed from the newest checkpoint`;
}

function asSentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function times(n: number): string {
  return n === 1 ? 'once' : `${n} times`;
}

function optimizerText(optimizer: NonNullable<Run['job']>['optimizer']): string {
  const { beta1, beta2, eps, weightDecay, clipNorm, embeddingLrFactor = 1 } = optimizer;
  const embeddings =
    embeddingLrFactor === 1 ? '' : `, embeddings at ${Number(embeddingLrFactor.toPrecision(3))} of the LR`;
  return `AdamW, betas ${beta1} and ${beta2}, eps ${formatLr(eps)}, weight decay ${weightDecay}, gradients clipped at ${clipNorm}${embeddings}`;
}

function activeText({ model: { experts } }: NonNullable<Run['plan']>): string {
  return experts
    ? `; ${formatCount(experts.numActive)} for a token, which passes ${experts.perToken} of ${experts.num} experts`
    : '';
}

/** The last scores of the average of the weights, where one is kept. */
function averageText({ job, evals, checkpoints }: Run): string | undefined {
  if (job?.ema === undefined) return undefined;
  const last = evals.findLast((record) => record.ema);
  const scores = Object.entries(last?.ema ?? {}).map(
    ([name, { bitsPerByte }]) => `${name} ${formatScore(bitsPerByte)}`,
  );
  const where = checkpoints.at(-1)?.step === job.numSteps ? ', in ema/ of the checkpoint' : '';
  return `decay ${job.ema} a step${scores.length > 0 ? `; bits per byte after step ${last!.step}: ${scores.join(', ')}` : ''}${where}`;
}

/** What the engine's process took at most, beside what the plan expected. */
export function memoryText({ peakRssBytes, plannedMemoryBytes }: RunSummary): string | undefined {
  if (peakRssBytes === undefined) return undefined;
  return `${formatBytes(peakRssBytes)}${plannedMemoryBytes === undefined ? '' : ` (planned: ${formatBytes(plannedMemoryBytes)})`}`;
}

/** What the event of the run's start says under the first of `names` that it has. */
function started(event: RunEvent | undefined, ...names: string[]): string | undefined {
  const value = names
    .map((name) => event?.[name])
    .find((found) => typeof found === 'string' || typeof found === 'number');
  return value === undefined ? undefined : String(value);
}

function commandsOf(run: Run, summary: RunSummary): { what: string; command: string }[] {
  const folder = path.relative(process.cwd(), run.folder) || '.';
  const copy = path.join(folder, 'continuo.yaml');
  const commands = [
    {
      what: `Do the same again, where the configuration lies (a copy is kept in ${copy}; its paths are relative to the original)`,
      command: 'continuo run continuo.yaml',
    },
  ];
  if (summary.checkpoint) {
    const checkpoint = path.relative(process.cwd(), summary.checkpoint);
    commands.push({ what: 'Look at the new model', command: `continuo inspect ${checkpoint}` });
    commands.push({ what: 'Score it on other text', command: `continuo eval ${checkpoint} --data TEXT_FILE` });
  }
  return commands;
}
