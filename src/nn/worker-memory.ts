// How much memory training takes on each GPU of the PyTorch engine (worker/): weights, gradients and moments as FSDP2 divides them (every
// tensor by its first axis), what is kept of a pass by the tensors that its gradient needs when a block is compiled, and what stands whole
// meanwhile by FSDP2's order of work. docs/recipe.md says how it was checked.
import { attachAdapters } from './adapters.ts';
import { type DecoderConfig, leaves } from './families/index.ts';
import { freezeTensors } from './freeze.ts';
import { emptyDecoder, type TrainingShape, withoutMemory } from './memory.ts';
import { type Parameter, partShape, partsOf } from './tensor.ts';

export interface WorkerShape
  extends Pick<TrainingShape, 'batch' | 'seqLen' | 'precision' | 'lora' | 'freeze' | 'ema' | 'penalty' | 'distill'> {
  /** Processes, each with its GPU. */
  ranks: number;
  recompute: boolean | 'selective';
}

/** Bytes of rank 0, which has the most. */
export interface WorkerMemory {
  /** Its part of the weights: f32 where they are trained. */
  weightBytes: number;
  gradientBytes: number;
  momentBytes: number;
  /** Its part of averages, anchors, Fisher information, and of a model that is distilled from. */
  besideBytes: number;
  /** Whole weights and gradients of a few blocks, of embeddings and head. */
  gatheredBytes: number;
  /** What a pass keeps for its gradient, and what one block needs on the way back. */
  activationBytes: number;
  /** The logits of a chunk of rows. */
  logitBytes: number;
  totalBytes: number;
}

/** Of the f32 logits of a chunk of rows, and as much again for what is made of them (worker/continuo_worker/loss.py). */
const CHUNK_BYTES = 2 * 4 * 2 ** 28;

/** @throws ConfigError for a family, a LoRA target or a name of a tensor to freeze that is unknown */
export function countWorkerMemory(
  rawConfig: Record<string, unknown>,
  shape: WorkerShape,
  has: (name: string) => boolean = () => false,
): WorkerMemory {
  const { precision, ranks, lora, penalty, distill } = shape;
  const { decoder } = emptyDecoder(rawConfig, precision, has);
  if (lora) attachAdapters(decoder, lora, withoutMemory);
  if (shape.freeze) freezeTensors(decoder, shape.freeze);
  const inPass = precision === 'bf16' ? 2 : 4;
  const { layers } = decoder.parameters;
  const inBlocks = new Set(layers.flatMap(leaves));
  const blocks = layers.map((layer) => leaves(layer).flatMap(tensorsOf));
  const root = decoder
    .list()
    .filter((parameter) => !inBlocks.has(parameter))
    .flatMap(tensorsOf);
  const all = [...blocks.flat(), ...root];

  const part = (tensors: Tensor[], bytes: (tensor: Tensor) => number) =>
    tensors.reduce((sum, tensor) => sum + partOf(tensor, ranks) * bytes(tensor), 0);
  const ofTrained = (bytes: number) => part(all, ({ isTrained }) => (isTrained ? bytes : 0));
  const anchor = penalty === undefined ? 0 : inPass + (penalty === 'fisher' ? 2 : 0);
  // Beside adapters alone the model is its own teacher.
  const hasTeacher = distill !== undefined && !(lora && !lora.embeddings);
  const own = (tensors: Tensor[]) => tensors.filter(({ isAdapter }) => !isAdapter);

  // One process in f32 is not wrapped.
  const isWrapped = ranks > 1 || precision === 'bf16';
  const [rootSize, rootTrained] = [numElements(root), numElements(root.filter(({ isTrained }) => isTrained))];
  const blockSize = Math.max(...blocks.map(numElements));
  const blockTrained = Math.max(...blocks.map((block) => numElements(block.filter(({ isTrained }) => isTrained))));
  const headSize = decoder.head.isFrozen ? 0 : decoder.head.rows * decoder.head.cols;
  const { kept, temporary, ofLoss } = activationsOf(decoder.config, shape);
  const activations = kept * layers.length + ofLoss;
  const rootBytes = isWrapped ? inPass * rootSize : 0;
  // A step has three high points.
  const moments: Peak[] = [
    // The loss: the head's gradient stands in f32 and rounded.
    { whole: rootBytes + (4 + inPass) * headSize, activations, logits: CHUNK_BYTES },
    // The way back begins: a block runs, the next one is gathered (in one buffer and as tensors), one's gradients go to the ranks.
    {
      whole:
        rootBytes +
        inPass * headSize +
        (isWrapped ? 3 * inPass * blockSize + (inPass + 4) * blockTrained : 4 * blockTrained),
      activations: activations + temporary,
      logits: 0,
    },
    // It ends: gradients of embeddings and head go to the ranks.
    { whole: (isWrapped ? inPass + 4 : 0) * rootTrained, activations: 0, logits: 0 },
  ];
  const { whole, logits, ...peak } = moments.reduce((most, one) => (sizeOf(one) > sizeOf(most) ? one : most));
  const counted = {
    weightBytes: part(all, ({ isTrained }) => (isTrained ? 4 : inPass)),
    // They come block by block, but on a stream of their own, whose memory the allocator lends to no other.
    gradientBytes: ofTrained(4),
    momentBytes: ofTrained(8),
    besideBytes: ofTrained((shape.ema ? 4 : 0) + anchor) + (hasTeacher ? part(own(all), () => inPass) : 0),
    gatheredBytes: whole + (hasTeacher ? inPass * numElements(own(root)) : 0),
    activationBytes: peak.activations,
    logitBytes: logits,
  };
  return { ...counted, totalBytes: Object.values(counted).reduce((sum, bytes) => sum + bytes, 0) };
}

/** Of a model that is only read beside the trained one: a rank's part of the weights, and embeddings and head, which stay whole. */
export function countWorkerReading(
  rawConfig: Record<string, unknown>,
  { precision, ranks }: Pick<WorkerShape, 'precision' | 'ranks'>,
  has: (name: string) => boolean = () => false,
): { weightBytes: number; rootBytes: number } {
  const { decoder } = emptyDecoder(rawConfig, precision, has);
  const inPass = precision === 'bf16' ? 2 : 4;
  const parts = decoder.list().flatMap(tensorsOf);
  return {
    weightBytes: inPass * parts.reduce((sum, tensor) => sum + partOf(tensor, ranks), 0),
    rootBytes: inPass * numElements(decoder.embeddings().flatMap(tensorsOf)),
  };
}

interface Peak {
  whole: number;
  activations: number;
  logits: number;
}

const sizeOf = (peak: Peak) => Object.values(peak).reduce((sum, bytes) => sum + bytes, 0);

interface Tensor {
  /** FSDP divides the first axis. */
  shape: number[];
  isTrained: boolean;
  isAdapter: boolean;
}

function tensorsOf(parameter: Parameter): Tensor[] {
  const { cols, isVector, isFrozen, trainedSpans, adapter } = parameter;
  const own = partsOf(parameter).map(({ part, from, to }) => ({
    shape: partShape(part, cols, isVector),
    isTrained: !isFrozen && (!trainedSpans || trainedSpans.some((span) => span.from <= from && to <= span.to)),
    isAdapter: false,
  }));
  const factors = (adapter?.blocks ?? []).flatMap(({ part }) => [
    [adapter!.rank, cols],
    [part.rows, adapter!.rank],
    ...(adapter!.magnitude ? [[part.rows]] : []),
  ]);
  return [...own, ...factors.map((shape) => ({ shape, isTrained: true, isAdapter: true }))];
}

const numElements = (tensors: readonly Tensor[]) =>
  tensors.reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);

/** Elements of a tensor that rank 0 holds. */
function partOf({ shape: [first, ...rest] }: Tensor, ranks: number): number {
  return Math.ceil(first! / ranks) * rest.reduce((product, size) => product * size, 1);
}

/** Bytes: kept of a block, needed for a while by the block that is on its way back, and of the loss' own rows. */
function activationsOf(config: DecoderConfig, { batch, seqLen, precision, recompute, lora }: WorkerShape) {
  const { hidden, ffn, gated, headDim, numHeads, numKvHeads, norm, qkNorm } = config;
  const rows = batch * seqLen;
  const inPass = precision === 'bf16' ? 2 : 4;
  const [queries, keys] = [numHeads * headDim, numKvHeads * headDim];
  const width = config.experts ? config.experts.perToken * config.experts.ffn : ffn;
  const attention = 2 * queries + 2 * keys;
  // What a sublayer reads and what it gives, before and behind norms; queries, keys and values as attention reads them, and its result; the
  // MLP's first products and what they make. The rest is computed again: that is how the compiler's partitioner cuts a block
  // (test/python/test_worker_memory.py asks it).
  const all =
    (norm.before && norm.after ? 5 : 4) * hidden +
    attention +
    (qkNorm === 'none' ? 0 : queries + keys) +
    (gated ? 3 : 2) * width +
    (lora ? LORA_MATRICES * lora.rank : 0);
  // recompute.py: the block's input, results of attention, and products no wider than their input.
  const selected = hidden + attention + 2 * hidden;
  const keptElements = recompute === true ? hidden : recompute === 'selective' ? Math.min(selected, all) : all;
  // The log of each row's sum of a head, f32, and two norms' scales.
  const perRow = recompute === true ? 0 : 4 * (numHeads + 2);
  const again = recompute === false ? 0 : all - keptElements;
  const kept = rows * (inPass * keptElements + perRow);
  const gradients = (gated ? 3 : 2) * width + 2 * hidden;
  return {
    kept,
    temporary: rows * inPass * (again + gradients),
    // The last norm, which is not compiled, keeps f32; final rows and their gradient; ids, positions, targets, weights.
    ofLoss: rows * ((4 + 3 * inPass) * hidden + 28),
  };
}

/** Matrices of a block that have an adapter, at most. */
const LORA_MATRICES = 7;
