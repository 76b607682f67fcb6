// How much memory training takes, found by running the model's own code with kernels that do nothing on buffers without memory: what is
// counted is what a real run holds, for every family and with adapters.
import type { Kernels } from '../kernels/index.ts';
import { attachAdapters, type LoraSettings } from './adapters.ts';
import { type Batch, Decoder } from './decoder.ts';
import { findFamily, mapParameters, type ParameterSpec } from './families/index.ts';
import { freezeTensors } from './freeze.ts';
import { KeyValueCache } from './generation/cache.ts';
import type { TeacherRows } from './ops/cross-entropy.ts';
import { BufferPool } from './pool.ts';
import { Teacher } from './teacher.ts';
import { allocateFloats, type Parameter, type Precision } from './tensor.ts';

export interface TrainingShape {
  /** Sequences a forward pass. */
  batch: number;
  seqLen: number;
  precision: Precision;
  lora?: Omit<LoraSettings, 'seed'>;
  /** Patterns of the names of tensors that are not trained. */
  freeze?: readonly string[];
  /** An average of the weights is kept. */
  ema?: boolean;
  recompute?: boolean;
  /** A penalty holds the weights near anchors, alike or by their Fisher information. */
  penalty?: 'alike' | 'fisher';
  /** A frozen copy of the model is read beside it: its logits, or so many of its likeliest tokens, kept on disk. */
  distill?: { topK?: number };
  /** At evaluations it writes so many sequences at once, of so many tokens. */
  writes?: { sequences: number; tokens: number };
}

export interface TrainingMemory {
  /** Weights, what is left of their masters, gradients, moments, averages. */
  stateBytes: number;
  /** The pool's, once a step and an evaluation were made, and the keys and values of sequences that are written. */
  activationBytes: number;
  /** Elements that are trained: of the model's own weights, or of adapters beside them. */
  numTrained: number;
}

const idle = new Proxy({} as Kernels, { get: () => () => 0 });
export const withoutMemory: typeof allocateFloats = (precision) => allocateFloats(precision, 0);

/**
 * @param rawConfig a model's config.json
 * @param has whether the checkpoint has a tensor of this name
 * @throws ConfigError for a family, a LoRA target or a name of a tensor to freeze that is unknown
 */
export function countMemory(
  rawConfig: Record<string, unknown>,
  shape: TrainingShape,
  has: (name: string) => boolean = () => false,
): TrainingMemory {
  const { decoder, pool } = emptyDecoder(rawConfig, shape.precision, has);
  if (shape.lora) attachAdapters(decoder, shape.lora, withoutMemory);
  if (shape.freeze) freezeTensors(decoder, shape.freeze);
  decoder.recompute = shape.recompute ?? false;
  for (const parameter of decoder.trained()) parameter.grad = new Float32Array(0);
  const ofTeacher = shape.distill && prepareTeacher(decoder, shape.distill, () => countReading(rawConfig, shape, has));
  const pass = (batch: number) => emptyBatch(decoder, batch, shape.seqLen);
  const said = ofTeacher?.say(pass(shape.batch));
  const teacher = said && {
    ...{ temperature: 1, weights: new Float32Array(1).fill(1), divergences: new Float32Array(0) },
    said,
  };
  decoder.trainBatch(pass(shape.batch), new Float32Array(0), undefined, { teacher });
  decoder.scoreBatch(pass(shape.batch));
  // What is left of a held-out set is scored one by one.
  decoder.scoreBatch(pass(1));
  const { sequences, tokens } = shape.writes ?? { sequences: 0, tokens: 0 };
  // Beside the cache, the rows of a step of decoding are few.
  const cacheBytes = sequences * tokens * KeyValueCache.bytesPerToken(decoder.config, shape.precision);
  return {
    stateBytes: stateBytes(decoder, shape) + (ofTeacher?.own.stateBytes ?? 0),
    activationBytes: pool.sizeBytes + cacheBytes + (ofTeacher?.own.activationBytes ?? 0),
    numTrained: decoder.list().reduce((sum, parameter) => sum + numTrained(parameter), 0),
  };
}

/** What it takes to score sequences one by one with a model that is not trained, as countMemory counts. */
export function countReading(
  rawConfig: Record<string, unknown>,
  { seqLen, precision }: Pick<TrainingShape, 'seqLen' | 'precision'>,
  has: (name: string) => boolean = () => false,
): Pick<TrainingMemory, 'stateBytes' | 'activationBytes'> {
  const { decoder, pool } = emptyDecoder(rawConfig, precision, has);
  decoder.scoreBatch(emptyBatch(decoder, 1, seqLen));
  const numWeights = decoder.list().reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  return { stateBytes: numWeights * (precision === 'bf16' ? 2 : 4), activationBytes: pool.sizeBytes };
}

export function emptyDecoder(rawConfig: Record<string, unknown>, precision: Precision, has: (name: string) => boolean) {
  const family = findFamily(rawConfig);
  const config = family.parse(rawConfig);
  const parameters = mapParameters(family.specs(config, has), emptyParameter);
  const pool = new BufferPool(withoutMemory);
  return { decoder: new Decoder(config, parameters, precision, idle, pool), pool };
}

/** Longer sequences than a table of positions has rows are refused by the planner; here they are counted as if cut. */
function emptyBatch({ config }: Decoder, batch: number, wanted: number): Batch {
  const seqLen = config.learnedPositions ? Math.min(wanted, config.context) : wanted;
  const ids = () => new Int32Array(batch * seqLen);
  return { batch, seqLen, inputs: ids(), targets: ids(), docStart: ids() };
}

/**
 * What distillation is from: a copy that shares buffers and frozen weights, or, where its likeliest tokens are kept on disk, the model opened
 * once more. `own` is what the teacher takes for itself.
 */
function prepareTeacher(
  decoder: Decoder,
  { topK }: NonNullable<TrainingShape['distill']>,
  reading: () => Pick<TrainingMemory, 'stateBytes' | 'activationBytes'>,
) {
  if (topK !== undefined)
    return {
      say: (): TeacherRows['said'] => ({ k: topK, ids: new Int32Array(0), probs: new Float32Array(0) }),
      own: reading(),
    };
  const teacher = new Teacher(decoder.frozenCopy());
  const numCopied = decoder.list().reduce((sum, { rows, cols, isFrozen }) => (isFrozen ? sum : sum + rows * cols), 0);
  return {
    say: (batch: Batch): TeacherRows['said'] => teacher.states(batch, () => true),
    own: { stateBytes: numCopied * (decoder.precision === 'bf16' ? 2 : 4), activationBytes: 0 },
  };
}

/** Of a parameter and its adapter, without the zeros between that one's blocks. */
function numTrained({ rows, cols, isFrozen, trainedSpans, adapter }: Parameter): number {
  const own = isFrozen ? 0 : (trainedSpans?.reduce((sum, { from, to }) => sum + to - from, 0) ?? rows * cols);
  const beside = adapter?.blocks.reduce((sum, { part }) => sum + (adapter.a.cols + part.rows) * adapter.rank, 0) ?? 0;
  return own + beside;
}

function stateBytes(decoder: Decoder, { precision, ema, penalty }: TrainingShape): number {
  const numElements = (parameters: Parameter[]) => parameters.reduce((sum, { rows, cols }) => sum + rows * cols, 0);
  const trained = numElements(decoder.trained());
  const frozen = numElements(decoder.list().filter(({ isFrozen }) => isFrozen));
  const anchor = penalty === undefined ? 0 : precision === 'bf16' ? 2 : 4;
  const fisher = penalty === 'fisher' ? 2 : 0;
  // f32, or bf16 with the rest of its f32 master; f32 gradient and two moments.
  return trained * ((ema ? 20 : 16) + anchor + fisher) + frozen * (precision === 'bf16' ? 2 : 4);
}

function emptyParameter(spec: ParameterSpec): Parameter {
  const rows = spec.parts.reduce((sum, part) => sum + part.rows, 0);
  return { ...spec, rows, data: new Float32Array(0), low: null, grad: null, m: null, v: null };
}
