// A plan compiled to files: what an engine consumes, and all that it consumes. job.json is written last; it carries the digests of the
// other files and its own fingerprint, so that a job that was edited or damaged is refused rather than trained on.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, DataError, internal } from '../base/errors.ts';
import { explainSystemError, readJson, writeFileAtomic, writeFolderAtomic, writeJsonAtomic } from '../base/files.ts';
import { fingerprint, sha256File } from '../base/hash.ts';
import type { Packing } from '../config/index.ts';
import { AmendedJob } from './amendments.ts';
import { Layout } from './layout.ts';
import { openShard, type ShardReader } from './megatron.ts';
import { compileEvalOrder, compileOrder, type OrderStatistics, readDocumentBytes } from './order.ts';
import { type OrderFile, readOrderFile } from './order-file.ts';
import type {
  Amendment,
  EvalSetRef,
  Job,
  JobBatch,
  JobGuard,
  JobPhase,
  JobShard,
  OrderFileRef,
  Sequence,
} from './types.ts';

const FORMAT_VERSION = 1;
const JOB_FILE = 'job.json';
const SCHEDULE_FILE = 'schedule.f32';
const FISHER_FILE = 'fisher.safetensors';

export interface JobOptions {
  /** The job folder; replaced as a whole. */
  folder: string;
  name: string;
  /** Hugging Face folder. */
  model: string;
  precision: Job['precision'];
  seed: number;
  batch: JobBatch;
  optimizer: Job['optimizer'];
  lora?: Job['lora'];
  freeze?: Job['freeze'];
  ema?: Job['ema'];
  routers?: Job['routers'];
  /** `fisher` is a file anywhere; the job gets a link to it, or a copy. */
  guard?: Job['guard'];
  selectTokens?: Job['selectTokens'];
  packing?: Packing;
  /** In order and without gaps, from step 0 to numSteps. */
  phases: readonly JobPhase[];
  numSteps: number;
  /** Training shards by corpus; a corpus may have several. With `inOrder` its documents are read as they lie. */
  shards: readonly { prefix: string; corpus: string; inOrder?: boolean }[];
  /** LR of each step. */
  schedule: ArrayLike<number>;
  checkpoint: Job['checkpoint'];
  evaluation: {
    everySteps: number;
    pauses?: Job['evaluation']['pauses'];
    samples?: Job['evaluation']['samples'];
    /** Held-out shards (PREFIX.bin, .idx, .bytes). `name` is the set's, unique. */
    sets: readonly { name: string; role: EvalSetRef['role']; prefix: string; corpus?: string; maxTokens?: number }[];
  };
  /** What the engine writes into its checkpoints' config.json. */
  record?: Record<string, unknown>;
  /** Likewise, into the last one only. */
  recordAtEnd?: Record<string, unknown>;
  sequencesPerFile?: number;
  /** Steps whose order is decided now; an engine asks for the others' when it gets there. Absent: all. */
  numOrderedSteps?: number;
  gradientDots?: Job['gradientDots'];
}

/**
 * Compiles order, schedule, held-out sets and job.json into `folder`, which is whole or absent afterwards.
 * @throws ConfigError for a blend, batch or schedule that does not fit; DataError for shards that cannot be used
 */
export async function compileJob(options: JobOptions): Promise<{ job: Job; statistics: OrderStatistics }> {
  checkOptions(options);
  const { batch, numSteps, seed } = options;
  const { pauses, samples } = options.evaluation;
  const { seqLen } = batch;
  const shards = describeShards(options);
  const { numOrderedSteps } = options;
  let job: Job | undefined;
  let statistics: OrderStatistics | undefined;
  await writeFolderAtomic(options.folder, (folder) => {
    const order = compileOrder({
      phases: options.phases.map(({ name, numSteps: n, blend, batch: own = batch }) => ({
        name,
        blend,
        numSequences: n * own.sequencesPerStep,
        seqLen: own.seqLen,
      })),
      shards,
      seqLen,
      seed,
      packing: options.packing,
      inOrder: options.shards.filter(({ inOrder }) => inOrder).map(({ corpus }) => corpus),
      folder,
      sequencesPerFile: options.sequencesPerFile,
      ...(numOrderedSteps !== undefined && { numSequences: new Layout(options).firstSequence(numOrderedSteps) }),
    });
    const sets = options.evaluation.sets.map((set, i): EvalSetRef => {
      const file = `eval-${String(i).padStart(2, '0')}.bin`;
      const shard = shards.length - options.evaluation.sets.length + i;
      const { numSequences, ...counts } = compileEvalOrder({
        prefix: set.prefix,
        shard,
        seqLen,
        maxTokens: set.maxTokens,
        file: path.join(folder, file),
      });
      return { name: set.name, role: set.role, order: { file, firstSequence: 0, numSequences }, ...counts };
    });
    writeFileAtomic(path.join(folder, SCHEDULE_FILE), scheduleBytes(options.schedule));
    const files = [...order.files.map((ref) => ref.file), ...sets.map((set) => set.order.file), SCHEDULE_FILE];
    const guard = options.guard && takeGuard(options.guard, folder, files);
    const content: Omit<Job, 'fingerprint'> = {
      formatVersion: FORMAT_VERSION,
      name: options.name,
      model: path.resolve(options.model),
      precision: options.precision,
      seed,
      numSteps,
      batch,
      optimizer: options.optimizer,
      ...(options.lora === undefined ? {} : { lora: options.lora }),
      ...(options.freeze && { freeze: options.freeze }),
      ...(options.ema === undefined ? {} : { ema: options.ema }),
      ...(options.routers && { routers: options.routers }),
      ...(guard && { guard }),
      ...(options.selectTokens && { selectTokens: options.selectTokens }),
      phases: [...options.phases],
      shards,
      ...(options.packing && { packing: options.packing }),
      order: order.files,
      ...(numOrderedSteps !== undefined && { numOrderedSteps }),
      ...(options.gradientDots && { gradientDots: options.gradientDots }),
      heldOutElsewhere: Object.fromEntries(
        order.statistics.corpora
          .filter(({ heldOutElsewhere }) => heldOutElsewhere.numDocuments > 0)
          .map(({ corpus, heldOutElsewhere }) => [corpus, heldOutElsewhere]),
      ),
      schedule: SCHEDULE_FILE,
      checkpoint: options.checkpoint,
      evaluation: {
        everySteps: options.evaluation.everySteps,
        sets,
        ...(pauses?.length && { pauses }),
        ...(samples && { samples }),
      },
      record: options.record ?? {},
      recordAtEnd: options.recordAtEnd ?? {},
      digests: Object.fromEntries(files.map((file) => [file, sha256File(path.join(folder, file))])),
    };
    job = { ...content, fingerprint: jobFingerprint(content) };
    statistics = order.statistics;
    writeJsonAtomic(path.join(folder, JOB_FILE), job);
  });
  return { job: job!, statistics: statistics! };
}

/** A guard whose files are in the job folder, where they are listed. */
function takeGuard(guard: JobGuard, folder: string, files: string[]): JobGuard {
  if (!guard.ewc) return guard;
  linkOrCopy(guard.ewc.fisher, path.join(folder, FISHER_FILE));
  files.push(FISHER_FILE);
  return { ...guard, ewc: { ...guard.ewc, fisher: FISHER_FILE } };
}

/** A link takes no room; where the file system has none, a copy. */
function linkOrCopy(from: string, to: string): void {
  try {
    fs.linkSync(from, to);
  } catch {
    fs.copyFileSync(from, to);
  }
}

function jobFingerprint(content: object): string {
  // Through JSON, so that what is digested is what a reader of job.json sees.
  return fingerprint(JSON.parse(JSON.stringify(content)));
}

function checkOptions({ batch, phases, numSteps, schedule, evaluation, numOrderedSteps }: JobOptions): void {
  checkWhole({ numSteps, ...(numOrderedSteps !== undefined && { numOrderedSteps }) });
  if (numOrderedSteps !== undefined && numOrderedSteps > numSteps)
    throw new ConfigError(`The order of ${numOrderedSteps} steps is to be decided, the job has ${numSteps}.`);
  checkBatch(batch);
  if (schedule.length !== numSteps)
    throw new ConfigError(`The schedule has ${schedule.length} LRs for ${numSteps} steps.`);
  for (let i = 0; i < schedule.length; i++)
    if (!(schedule[i] >= 0 && schedule[i] < Number.POSITIVE_INFINITY))
      throw new ConfigError(`The schedule's LR of step ${i} is ${schedule[i]}.`);
  let step = 0;
  for (const phase of phases) {
    if (phase.firstStep !== step)
      throw new ConfigError(`Phase "${phase.name}" begins at step ${phase.firstStep}, expected ${step}.`);
    if (phase.batch) {
      checkBatch(phase.batch);
      if (tokensOf(phase.batch) !== tokensOf(batch))
        throw new ConfigError(
          `Phase "${phase.name}" has ${tokensOf(phase.batch)} tokens a step, the job ${tokensOf(batch)}: every step of a job has as many.`,
        );
    }
    step += phase.numSteps;
  }
  if (step !== numSteps) throw new ConfigError(`The phases end at step ${step}, the job at ${numSteps}.`);
  const names = evaluation.sets.map((set) => set.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new ConfigError(`Two held-out sets are called "${twice}".`);
}

const tokensOf = ({ seqLen, sequencesPerStep }: JobBatch): number => seqLen * sequencesPerStep;

function checkWhole(values: object): void {
  for (const [key, value] of Object.entries(values))
    if (!Number.isSafeInteger(value) || value < 1)
      throw new ConfigError(`${key} is ${value}, expected a whole number of at least 1.`);
}

function checkBatch(batch: JobBatch): void {
  checkWhole(batch);
  if (batch.sequencesPerStep % batch.sequencesPerMicroBatch !== 0)
    throw new ConfigError(
      `A step of ${batch.sequencesPerStep} sequences cannot be cut into micro-batches of ${batch.sequencesPerMicroBatch}.`,
    );
}

function describeShards({ shards, evaluation }: JobOptions): JobShard[] {
  const list: Omit<JobShard, 'numTokens' | 'indexDigest'>[] = [
    ...shards.map(({ prefix, corpus, inOrder }) => ({
      prefix: path.resolve(prefix),
      corpus,
      split: 'train' as const,
      ...(inOrder && { inOrder }),
    })),
    ...evaluation.sets.map(({ prefix, corpus, name }) => ({
      prefix: path.resolve(prefix),
      corpus: corpus ?? name,
      split: 'heldOut' as const,
    })),
  ];
  return list.map((shard) => {
    const reader = openShard(shard.prefix);
    const { numTokens, hasMask } = reader;
    reader.close();
    return {
      ...shard,
      numTokens,
      indexDigest: sha256File(`${shard.prefix}.idx`),
      ...(hasMask ? { maskDigest: sha256File(`${shard.prefix}.mask`) } : {}),
    };
  });
}

function scheduleBytes(schedule: ArrayLike<number>): Buffer {
  const bytes = Buffer.alloc(4 * schedule.length);
  for (let i = 0; i < schedule.length; i++) bytes.writeFloatLE(schedule[i], 4 * i);
  return bytes;
}

export interface JobReader {
  readonly folder: string;
  readonly job: Job;
  /** How a step is cut, and the first of its `sequencesPerStep` sequences. */
  stepAt(step: number): JobBatch & { firstSequence: number };
  /** Sequence i of the whole run. */
  sequence(i: number): Sequence;
  /** Sequence i of a held-out set, given as it stands in the job or by name. */
  evalSequence(set: EvalSetRef | string, i: number): Sequence;
  /** The documents that a held-out set is made of. */
  evalDocuments(set: EvalSetRef): EvalDocuments;
  /** LR of a step, counted from 0. */
  lrAt(step: number): number;
  /** Whether the order of a step is decided. */
  isOrdered(step: number): boolean;
  /** Share of tokens by corpus of a step whose order is decided. */
  blendAt(step: number): Record<string, number>;
  /** The decisions that first hold for this step, made while the job ran: one about the order, one about the LR. */
  amendmentsAt(step: number): readonly Amendment[];
  /** Reads what was decided since. @throws DataError when it was edited or is damaged */
  refresh(): void;
  /** Identifies all that the first `step` steps were trained by: the job, and what was decided about them while it ran. */
  fingerprintAt(step: number): string;
  close(): void;
}

export interface EvalDocuments {
  /** UTF-8 bytes of each document's text. */
  bytes: Uint32Array;
  /** Documents, by number, of the tokens of sequence i, [seqLen]; -1 on padding. */
  rows(i: number): Int32Array;
}

/**
 * Opens a job folder after checking it: format, fingerprint, digests of all its files, identity of the shards.
 * @throws DataError saying which file was edited, is damaged, or was replaced
 */
export function openJob(folder: string): JobReader {
  const job = readJob(folder);
  for (const [file, digest] of Object.entries(job.digests)) {
    if (path.basename(file) !== file)
      throw new DataError(path.join(folder, JOB_FILE), `names a file outside its folder: ${file}`);
    const found = sha256File(path.join(folder, file));
    if (found !== digest)
      throw new DataError(
        path.join(folder, file),
        `was edited or is damaged (SHA-256 ${found.slice(0, 16)}..., expected ${digest.slice(0, 16)}...). ${REMEDY}`,
      );
  }
  const schedule = readSchedule(path.join(folder, job.schedule), job.numSteps);
  const shards = openShards(job.shards);
  const orderFiles = new OrderCache(folder);
  const amended = new AmendedJob(folder, job);
  const { layout } = amended;
  const build = (ref: OrderFileRef, i: number, label: string, seqLen: number, onlyAnswers = false): Sequence => {
    const segments = orderFiles.get(ref, seqLen).segments(i - ref.firstSequence);
    return buildSequence(segments, { shards, seqLen, onlyAnswers, file: path.join(folder, ref.file), label });
  };
  return {
    folder,
    job,
    stepAt(step) {
      return { ...layout.atStep(step).batch, firstSequence: layout.firstSequence(step) };
    },
    sequence(i) {
      const { phase, batch } = layout.ofSequence(i);
      return build(amended.fileOf(i), i, `sequence ${i}`, batch.seqLen, phase.objective === 'answers');
    },
    evalSequence(set, i) {
      const known = job.evaluation.sets.find(({ name }) => name === (typeof set === 'string' ? set : set.name));
      if (!known) internal(`no held-out set "${typeof set === 'string' ? set : set.name}"`);
      return build(known.order, i, `sequence ${i} of held-out set "${known.name}"`, job.batch.seqLen);
    },
    evalDocuments({ name, order, numDocuments }) {
      const at = shardOfSet(job, name);
      const shard = shards[at]!;
      const firsts = Float64Array.from({ length: numDocuments }, (_, i) => shard.documentRange(i)[0]);
      return {
        bytes: readDocumentBytes(job.shards[at]!.prefix, shard.numDocuments).subarray(0, numDocuments),
        rows(i) {
          const rows = new Int32Array(job.batch.seqLen).fill(-1);
          let row = 0;
          for (const { first, length } of orderFiles.get(order, rows.length).segments(i - order.firstSequence)) {
            rows.fill(lastAtMost(firsts, first), row, row + length);
            row += length;
          }
          return rows;
        },
      };
    },
    lrAt(step) {
      if (!(step >= 0 && step < schedule.length)) internal(`step ${step} of ${schedule.length}`);
      // Rounded once more, so that every engine multiplies to the same bits.
      return Math.fround(schedule[step] * amended.lrFactorAt(step));
    },
    isOrdered: (step) => amended.layerAt(step) !== undefined,
    blendAt: (step) => amended.blendAt(step),
    amendmentsAt: (step) => amended.amendments.filter(({ fromStep }) => fromStep === step),
    refresh: () => void amended.refresh(),
    fingerprintAt: (step) => amended.fingerprintAt(step),
    close() {
      for (const shard of shards) shard.close();
    },
  };
}

/** Held-out shards stand last, in the order of their sets. */
function shardOfSet({ shards, evaluation: { sets } }: Job, name: string): number {
  return shards.length - sets.length + sets.findIndex((set) => set.name === name);
}

/** Index of the last of the ascending `values` that is at most `value`. */
function lastAtMost(values: Float64Array, value: number): number {
  let low = 0;
  for (let high = values.length - 1; low < high; ) {
    const middle = (low + high + 1) >> 1;
    if (values[middle]! <= value) low = middle;
    else high = middle - 1;
  }
  return low;
}

const REMEDY = 'Start the run again in a new folder, or remove the job folder so that it is compiled again.';

/** job.json, checked against its fingerprint. */
export function readJob(folder: string): Job {
  const file = path.join(folder, JOB_FILE);
  const job = readJson<Partial<Job> | null>(file, 'opening a job');
  if (job === null || typeof job !== 'object' || Array.isArray(job))
    throw new DataError(file, 'is not a job: expected a JSON object.');
  if (job.formatVersion !== FORMAT_VERSION)
    throw new DataError(
      file,
      `job format ${JSON.stringify(job.formatVersion)}, expected ${FORMAT_VERSION}. It was compiled by another version: ${REMEDY}`,
    );
  const { fingerprint: recorded, ...content } = job;
  const found = jobFingerprint(content);
  if (found !== recorded)
    throw new DataError(
      file,
      `was edited or is damaged (fingerprint ${found}, it says ${JSON.stringify(recorded)}). ${REMEDY}`,
    );
  return job as Job;
}

function readSchedule(file: string, numSteps: number): Float32Array {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(file);
  } catch (error) {
    throw explainSystemError(error, file, 'reading the LR schedule');
  }
  if (bytes.length !== 4 * numSteps)
    throw new DataError(file, `${bytes.length} bytes, expected ${4 * numSteps} (one f32 a step).`);
  return Float32Array.from({ length: numSteps }, (_, i) => bytes.readFloatLE(4 * i));
}

function openShards(shards: readonly JobShard[]): ShardReader[] {
  const opened: ShardReader[] = [];
  try {
    for (const { prefix, numTokens, indexDigest, maskDigest } of shards) {
      const reader = openShard(prefix);
      opened.push(reader);
      if (reader.numTokens !== numTokens)
        throw new DataError(
          `${prefix}.bin`,
          `holds ${reader.numTokens} tokens, the job was compiled for ${numTokens}. Prepare the corpus again, then the run.`,
        );
      if (sha256File(`${prefix}.idx`) !== indexDigest)
        throw new DataError(
          `${prefix}.idx`,
          'is not the index that the job was compiled for. Prepare the corpus again, then the run.',
        );
      if ((reader.hasMask ? sha256File(`${prefix}.mask`) : undefined) !== maskDigest)
        throw new DataError(
          `${prefix}.mask`,
          'is not the mask that the job was compiled for. Prepare the corpus again, then the run.',
        );
    }
  } catch (error) {
    for (const reader of opened) reader.close();
    throw error;
  }
  return opened;
}

/** The two order files used last: training reads one at a time, evaluation another in between. */
class OrderCache {
  private readonly folder: string;
  private readonly files = new Map<string, OrderFile>();

  constructor(folder: string) {
    this.folder = folder;
  }

  get(ref: OrderFileRef, seqLen: number): OrderFile {
    const cached = this.files.get(ref.file);
    this.files.delete(ref.file);
    const order = cached ?? this.read(ref, seqLen);
    this.files.set(ref.file, order);
    if (this.files.size > 2) this.files.delete(this.files.keys().next().value!);
    return order;
  }

  private read(ref: OrderFileRef, seqLen: number): OrderFile {
    const file = path.join(this.folder, ref.file);
    const order = readOrderFile(file);
    if (order.seqLen !== seqLen || order.numSequences !== ref.numSequences)
      throw new DataError(
        file,
        `${order.numSequences} sequences of ${order.seqLen}, the job expects ${ref.numSequences} of ${seqLen}.`,
      );
    return order;
  }
}

function buildSequence(
  segments: readonly { shard: number; first: number; length: number }[],
  {
    shards,
    seqLen,
    onlyAnswers,
    file,
    label,
  }: { shards: readonly ShardReader[]; seqLen: number; onlyAnswers: boolean; file: string; label: string },
): Sequence {
  const sequence: Sequence = {
    inputs: new Int32Array(seqLen),
    targets: new Int32Array(seqLen).fill(-1),
    docStart: new Int32Array(seqLen),
    shard: new Int32Array(seqLen).fill(-1),
  };
  let at = 0;
  for (const { shard, first, length } of segments) {
    const reader = shards[shard];
    if (!reader) throw new DataError(file, `${label} refers to shard ${shard}, the job has ${shards.length}.`);
    if (length < 1 || first + length + 1 > reader.numTokens)
      throw new DataError(
        file,
        `${label} refers to tokens ${first} to ${first + length} of ${reader.prefix}.bin, which holds ${reader.numTokens}.`,
      );
    const ids = reader.read(first, length + 1);
    sequence.inputs.set(ids.subarray(0, length), at);
    sequence.targets.set(ids.subarray(1), at);
    if (onlyAnswers && reader.hasMask)
      reader.readMask(first + 1, length).forEach((bearsLoss, k) => {
        if (bearsLoss === 0) sequence.targets[at + k] = -1;
      });
    sequence.docStart.fill(at, at, at + length);
    sequence.shard.fill(shard, at, at + length);
    at += length;
  }
  // Padding is one document of its own, so that nothing attends across into it.
  sequence.docStart.fill(at, at);
  return sequence;
}
