// Models that the native engine does not know, for the PyTorch engine: what a plan needs, from config.json's usual keys and from the tensors'
// names and shapes alone.
import { ConfigError } from '../base/errors.ts';
import { isBuffer, isEmbedding, isHead, isPositions, type ModelFacts, type ModelSource } from '../checkpoint/index.ts';
import { frozenBy, type TrainingMemory, type TrainingShape } from '../nn/index.ts';

/** Where no longest sequence is stated, as of state-space models: none that anybody trains on. */
const UNSTATED_CONTEXT = 1 << 20;

/** A layer's matrix, by its name. */
const OF_LAYER = /\.\d+\..*?([^.]+)\.weight$/;

/** Bytes kept of a layer for each element of its input, in 16 bits, attention's scores left out: Korthikanti et al. 2022, section 4.1 */
const ACTIVATION_BYTES = 34;
/** Logits that exist at once, f32 and what becomes of them; worker/continuo_worker/loss.py. */
const LOGIT_BYTES = 2 * 256 * 2 ** 20;

export interface AnyModel extends Pick<ModelFacts, 'hiddenSize' | 'numLayers' | 'vocabRows' | 'experts' | 'tied'> {
  tensors: { name: string; shape: number[] }[];
}

export const tensorShapes = ({ tensors }: ModelSource): AnyModel['tensors'] =>
  [...tensors.values()].filter(({ name }) => !isBuffer(name)).map(({ name, shape }) => ({ name, shape }));

/** The part of a decoder's description that plans read. @throws ConfigError where config.json and tensors do not even say the width */
export function anyFamily({ config, path, tensors }: ModelSource, facts: ModelFacts) {
  const table = [...tensors.values()].find(({ name }) => isEmbedding(name));
  const hidden = facts.hiddenSize ?? table?.shape[1];
  if (hidden === undefined)
    throw new ConfigError(
      `${path}: config.json of model_type "${config.model_type}" has no hidden_size, and no tensor looks like an embedding of tokens. Is this a causal language model of transformers?`,
    );
  const { experts } = facts;
  const coefficient = config.router_aux_loss_coef;
  return {
    hidden,
    numLayers: facts.numLayers ?? 0,
    vocabSize: facts.vocabRows,
    context: facts.contextLength ?? UNSTATED_CONTEXT,
    numHeads: facts.numHeads ?? 0,
    headDim: facts.headDim ?? 0,
    experts: experts && { ...experts, balanceLoss: typeof coefficient === 'number' ? coefficient : 0 },
  };
}

/** Memory as far as shapes tell. @throws ConfigError for a LoRA target or a name of a tensor to freeze that is unknown */
export function memoryOfAny(model: AnyModel, shape: TrainingShape): TrainingMemory {
  const { precision, lora, freeze, ema, penalty, distill, recompute } = shape;
  const tensors = model.tensors.filter(({ name }) => !(model.tied && isHead(name)));
  const isFrozen = freeze
    ? frozenBy(
        freeze,
        tensors.map(({ name }) => name),
      )
    : () => false;
  const numAll = sizeOf(tensors);
  const numWhole = sizeOf(
    tensors.filter(({ name }) => !isFrozen(name) && (!lora || (lora.embeddings && isTable(name)))),
  );
  const numTrained = numWhole + (lora ? adapterSize(tensors, lora) : 0);
  const weightBytes = precision === 'bf16' ? 2 : 4;
  const anchorBytes = penalty === undefined ? 0 : weightBytes + (penalty === 'fisher' ? 2 : 0);
  const teacherBytes = distill && (!lora || lora.embeddings) ? numAll * weightBytes : 0;
  const tokens = shape.batch * shape.seqLen;
  const ofLayer = tokens * (model.hiddenSize ?? 0) * weightBytes;
  const numLayers = model.numLayers ?? 0;
  // Kept: each layer's input, and all of one layer.
  const kept = recompute ? ofLayer * (numLayers + ACTIVATION_BYTES / 2) : (ofLayer * numLayers * ACTIVATION_BYTES) / 2;
  return {
    stateBytes: numTrained * ((ema ? 20 : 16) + anchorBytes) + (numAll - numWhole) * weightBytes + teacherBytes,
    activationBytes: Math.round(kept * (model.experts?.perToken ?? 1)) + logitBytes(model, tokens),
    numTrained,
  };
}

/** What it takes to score sequences one by one. */
export function readingOfAny(model: AnyModel, { seqLen, precision }: Pick<TrainingShape, 'seqLen' | 'precision'>) {
  const weightBytes = precision === 'bf16' ? 2 : 4;
  return {
    stateBytes: sizeOf(model.tensors) * weightBytes,
    activationBytes:
      (seqLen * (model.hiddenSize ?? 0) * weightBytes * ACTIVATION_BYTES) / 2 + logitBytes(model, seqLen),
  };
}

const logitBytes = ({ vocabRows }: AnyModel, tokens: number) => Math.min(LOGIT_BYTES, 2 * tokens * vocabRows * 4);
const isTable = (name: string) => isEmbedding(name) || isPositions(name) || isHead(name);
const sizeOf = (tensors: AnyModel['tensors']) =>
  tensors.reduce((sum, { shape }) => sum + shape.reduce((product, n) => product * n, 1), 0);

function adapterSize(
  tensors: AnyModel['tensors'],
  { rank, targets, dora }: NonNullable<TrainingShape['lora']>,
): number {
  const matrices = tensors.flatMap(({ name, shape }) => {
    const module = shape.length === 2 && !name.includes('.experts.') ? OF_LAYER.exec(name)?.[1] : undefined;
    return module === undefined ? [] : { module, rows: shape[0]!, cols: shape[1]! };
  });
  const known = [...new Set(matrices.map(({ module }) => module))].sort();
  const unknown = targets?.find((target) => !known.includes(target));
  if (unknown !== undefined)
    throw new ConfigError(
      `training.lora.targets: this model has no matrix "${unknown}"; expected some of ${known.join(', ')}.`,
    );
  return matrices
    .filter(({ module }) => !targets || targets.includes(module))
    .reduce((sum, { rows, cols }) => sum + rank * (rows + cols) + (dora ? rows : 0), 0);
}

/** Layers that read what stood before whatever document it was of, by what their tensors are called: Mamba, RWKV, RG-LRU, short convolutions. */
const STATE = /\.(A_log|conv1d|rg_lru|time_decay|time_mix_key|linear_attn|conv\.conv)(\.|$)/;

/** What a user has to know of a model before training. */
export function oddities({ config, tensors }: ModelSource): { carriesState?: string; ownCode?: string[] } {
  const carriesState = [...tensors.keys()].find((name) => STATE.test(name));
  const named = Object.values((config.auto_map ?? {}) as Record<string, unknown>).flat();
  const modules = named.flatMap((value) =>
    typeof value === 'string' ? `${value.replace(/^.*--/, '').split('.')[0]}.py` : [],
  );
  return {
    ...(carriesState !== undefined && { carriesState }),
    ...(modules.length > 0 && { ownCode: [...new Set(modules)] }),
  };
}
