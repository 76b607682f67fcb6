// Watches a run: is handed what it records, in order, and says when an alarm sounds and what is to be done. Holds no file and no clock, so
// the same records give the same alarms, live, after a resume (it is then handed the records from the beginning), and from an old run.
import type { AlarmAction, AlarmName } from '../../config/index.ts';
import type { StepMetrics, WritingRecord } from '../../engine/index.ts';
import type { EvalResults } from '../../eval/index.ts';
import type { AlarmSetting, Blend } from '../../recipe/index.ts';
import type { DocumentLosses } from '../documents.ts';
import { median } from '../metrics.ts';
import type { EvalRecord } from '../types.ts';
import type { Bigrams } from './bigram.ts';
import { epochsPassed, littleDisk, type Pace, slowdown, stretchLength } from './course.ts';
import { deadExpert, EXPERT_STEPS, type ExpertFacts, FIRST_STEPS, imbalance, type Loads } from './experts.ts';
import type { Finding } from './finding.ts';
import { forgetting, overtraining, type SetAt, type TrainingLoss } from './held-out.ts';
import { gradientNorm, lossSpike } from './spike.ts';
import { tasksBelow } from './tasks.ts';
import { LastValues } from './windows.ts';
import { worseWriting } from './writing.ts';

export interface Alarm extends Finding {
  /** Steps done when it sounded. */
  step: number;
  actions: readonly AlarmAction[];
}

export interface WatchFacts {
  /** Measurements of the whole run, and how many of them have samples of its writing. */
  numEvaluations: number;
  numSamplings: number;
  /** Tokens of each corpus to train on. */
  tokensByCorpus: Readonly<Record<string, number>>;
  /** Passes that a corpus is meant to have, where more than the alarm's limit. */
  maxEpochs?: Readonly<Record<string, number>>;
  /** Shares of a step's tokens, by corpus. */
  blendOf: (step: number) => Blend;
  experts?: ExpertFacts;
  /** Pairs of tokens in held-out text. */
  reference?: () => Bigrams;
}

/** What a detector needs of a step. */
export type StepRecord = Pick<
  StepMetrics,
  'step' | 'loss' | 'lossByCorpus' | 'gradNorm' | 'tokens' | 'tokensPerSecond' | 'stepMs' | 'phase' | 'experts'
>;

/** Within so many steps an alarm is still the same one, though it came to an end or grew. Assumption. */
const REST_STEPS = 20;
/** Steps whose mean training loss stands for a corpus at an evaluation. */
const TRAINING_STEPS = 20;
/** Steps that say what speed is usual, and how often it is looked at. */
const MAX_PACES = 10_000;
const PACE_EVERY = 20;

type Watch = Partial<Record<AlarmName, AlarmSetting>>;
type Key = `${AlarmName}:${string}`;

export class AlarmWatch {
  private readonly watch: Watch;
  private readonly facts: WatchFacts;
  /** Of alarms that have sounded: when last, how bad it was, whether it goes on. */
  private readonly sounded = new Map<Key, { step: number; severity: number; goesOn: boolean }>();
  private phase: string | undefined;
  private readonly losses = new LastValues();
  private readonly norms = new LastValues();
  private readonly byCorpus = new Map<string, LastValues>();
  private paces: Pace[] = [];
  private readonly experts = {
    first: { max: [] as number[], min: [] as number[] },
    max: new LastValues(EXPERT_STEPS),
    min: new LastValues(EXPERT_STEPS),
  };
  private tokens = 0;
  private readonly read = new Map<string, number>();
  private readonly training = new Map<string, LastValues>();
  private base: Map<string, SetAt> | undefined;
  private readonly best = new Map<string, { at: SetAt; training: Summary }>();
  private baseWriting: WritingRecord | undefined;
  private baseTasks: EvalResults | undefined;

  constructor(watch: Watch, facts: WatchFacts) {
    this.watch = watch;
    this.facts = facts;
  }

  /** A step is done. */
  step(record: StepRecord): Alarm[] {
    const done = record.step + 1;
    if (record.phase !== this.phase) this.enterPhase(record.phase);
    const alarms = this.countEpochs(record, done);
    // One that was left out, or that gave no number.
    if (!Number.isFinite(record.loss) || !Number.isFinite(record.gradNorm)) return alarms;
    this.losses.push(record.loss);
    this.norms.push(record.gradNorm);
    const present = Object.entries(record.lossByCorpus).filter(([, loss]) => Number.isFinite(loss));
    for (const [corpus, loss] of present) {
      push(this.byCorpus, corpus, loss);
      push(this.training, corpus, loss, TRAINING_STEPS);
    }
    const windows = present.map(([corpus]) => this.byCorpus.get(corpus)!.all);
    alarms.push(
      ...this.look('spike', '', done, (limit) => lossSpike(this.losses.all, windows, record.step, limit)),
      ...this.look('gradNorm', '', done, (limit) => gradientNorm(this.norms.all, record.step, limit)),
      ...this.lookAtExperts(record, done),
      ...this.lookAtPace(record, done),
    );
    return alarms;
  }

  /** Held-out text has been scored. @param documents losses of its documents, by set */
  evaluated(
    { step, sets }: Pick<EvalRecord, 'step' | 'sets'>,
    documents?: Readonly<Record<string, DocumentLosses>>,
  ): Alarm[] {
    const now = new Map<string, SetAt>();
    for (const [name, score] of Object.entries(sets))
      if (Number.isFinite(score.bitsPerByte)) now.set(name, { step, score, documents: documents?.[name] });
    if (!this.base) {
      this.base = now;
      return [];
    }
    const roleOf = (name: string) => sets[name]!.role;
    const guards = ['general', 'evaluation'].map((role) => [...now.keys()].filter((name) => roleOf(name) === role));
    const general = guards.find((names) => names.length > 0) ?? [];
    const domain = [...now.keys()].filter((name) => roleOf(name) === 'domain');
    const looks = (names: readonly string[]) => this.facts.numEvaluations * names.length;
    return [
      ...general.flatMap((name) => {
        const base = this.base!.get(name);
        return base
          ? this.look('general', name, step, (limit) => forgetting(name, base, now.get(name)!, limit, looks(general)))
          : [];
      }),
      ...domain.flatMap((name) => this.lookAtOvertraining(name, now.get(name)!, looks(domain))),
    ];
  }

  /** It wrote on from the prompts. */
  wrote(record: WritingRecord): Alarm[] {
    if (!this.watch.writing) return [];
    if (!this.baseWriting) {
      this.baseWriting = record;
      return [];
    }
    const { numSamplings, reference } = this.facts;
    const found = worseWriting(this.baseWriting.samples, record.samples, reference?.(), numSamplings);
    return this.settle('writing', record.step, found);
  }

  /** Tasks have been measured. */
  measured(step: number, results: EvalResults): Alarm[] {
    const setting = this.watch.tasks;
    if (!setting) return [];
    if (!this.baseTasks) {
      this.baseTasks = results;
      return [];
    }
    return this.settle('tasks', step, tasksBelow(this.baseTasks, results, setting.limit, this.facts.numEvaluations));
  }

  disk(step: number, freeBytes: number, checkpointBytes: number): Alarm[] {
    return this.look('disk', '', step, (limit) => littleDisk(freeBytes, checkpointBytes, limit));
  }

  /** What is usual in one phase need not be in the next. */
  private enterPhase(phase: string): void {
    this.phase = phase;
    this.losses.clear();
    this.norms.clear();
    for (const values of this.byCorpus.values()) values.clear();
    this.paces = [];
  }

  private countEpochs({ step, tokens }: StepRecord, done: number): Alarm[] {
    const added = tokens - this.tokens;
    this.tokens = tokens;
    return Object.entries(this.facts.blendOf(step)).flatMap(([corpus, share]) => {
      const read = (this.read.get(corpus) ?? 0) + share * added;
      this.read.set(corpus, read);
      const meant = this.facts.maxEpochs?.[corpus] ?? 0;
      const epochs = read / (this.facts.tokensByCorpus[corpus] ?? Infinity);
      return this.look('epochs', corpus, done, (limit) => epochsPassed(corpus, epochs, Math.max(limit, meant)));
    });
  }

  private lookAtExperts({ experts }: StepRecord, done: number): Alarm[] {
    if (!experts || !this.facts.experts) return [];
    const { first, max, min } = this.experts;
    if (first.max.length < FIRST_STEPS) {
      first.max.push(experts.maxLoad);
      first.min.push(experts.minLoad);
    }
    max.push(experts.maxLoad);
    min.push(experts.minLoad);
    if (!max.isFull) return [];
    const last: Loads = { max: max.all, min: min.all };
    return [
      ...this.look('experts', 'overloaded', done, (limit) => imbalance(first, last, this.facts.experts!, limit)),
      ...this.look('experts', 'dead', done, () => deadExpert(first, last)),
    ];
  }

  private lookAtPace({ step, tokensPerSecond, stepMs }: StepRecord, done: number): Alarm[] {
    this.paces.push({ tokensPerSecond, stepMs });
    if (step % PACE_EVERY !== 0) return [];
    this.paces = this.paces.slice(-MAX_PACES);
    const length = stretchLength(this.paces);
    if (length === undefined || this.paces.length < 2 * length) return [];
    const usual = median(this.paces.slice(0, -length).map((pace) => pace.tokensPerSecond))!;
    return this.look('speed', '', done, (limit) => slowdown(usual, this.paces.slice(-length), limit));
  }

  private lookAtOvertraining(name: string, now: SetAt, numLooks: number): Alarm[] {
    const training = summaryOf(this.training.get(name)?.all ?? []);
    if (!training) return [];
    const best = this.best.get(name);
    if (!best || now.score.bitsPerByte < best.at.score.bitsPerByte) this.best.set(name, { at: now, training });
    if (!best) return [];
    const losses: TrainingLoss = { before: best.training, now: training };
    return this.look('overtraining', name, now.step, (limit) =>
      overtraining(name, best.at, now, losses, limit, numLooks),
    );
  }

  private look(
    alarm: AlarmName,
    subject: string,
    step: number,
    detect: (limit: number) => Finding | undefined,
  ): Alarm[] {
    const setting = this.watch[alarm];
    if (!setting) return [];
    return this.sound(`${alarm}:${subject}`, step, detect(setting.limit));
  }

  /** As look, where a detector says by itself which subjects it found something on. */
  private settle(alarm: AlarmName, step: number, found: readonly Finding[]): Alarm[] {
    const named = new Map(found.map((finding) => [`${alarm}:${finding.subject ?? ''}` as Key, finding]));
    const known = [...this.sounded.keys()].filter((key) => key.startsWith(`${alarm}:`));
    return [...new Set([...known, ...named.keys()])].flatMap((key) => this.sound(key, step, named.get(key)));
  }

  /** Once when it begins, and again when it has become twice as bad. */
  private sound(key: Key, step: number, finding: Finding | undefined): Alarm[] {
    const last = this.sounded.get(key);
    if (!finding) {
      if (last) last.goesOn = false;
      return [];
    }
    const rests = last !== undefined && step - last.step < REST_STEPS;
    if (last && (rests || (last.goesOn && finding.severity < 2 * last.severity))) {
      last.goesOn = true;
      if (rests) last.severity = Math.max(last.severity, finding.severity);
      return [];
    }
    this.sounded.set(key, { step, severity: finding.severity, goesOn: true });
    return [{ ...finding, step, actions: this.watch[finding.alarm]!.actions }];
  }
}

interface Summary {
  mean: number;
  stderr: number;
}

function summaryOf(values: readonly number[]): Summary | undefined {
  const n = values.length;
  if (n < 2) return undefined;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  return { mean, stderr: Math.sqrt(variance / n) };
}

function push(windows: Map<string, LastValues>, name: string, value: number, capacity?: number): void {
  const window = windows.get(name) ?? new LastValues(capacity);
  windows.set(name, window);
  window.push(value);
}
