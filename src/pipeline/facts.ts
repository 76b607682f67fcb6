// Facts for the planner, gathered from an opened model and prepared corpora.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { fingerprint, sampleDigest } from '../base/hash.ts';
import { describeModel, isEmbedding, isHead, type ModelFacts, openModel, PeftFolder } from '../checkpoint/index.ts';
import type { EngineConfig } from '../config/index.ts';
import {
  countMemory,
  countReading,
  countWorkerMemory,
  countWorkerReading,
  findFamily,
  knownDecoder,
} from '../nn/index.ts';
import {
  type AdapterFacts,
  type CorpusFacts,
  knownModel,
  type ModelFactsForPlan,
  type PlanInputs,
  type PretrainingFacts,
} from '../recipe/index.ts';
import type { PreparedCorpus } from '../shards/index.ts';
import { anyFamily, memoryOfAny, oddities, readingOfAny, tensorShapes } from './any-family.ts';

/**
 * @param isNew its weights are random: nothing that is published is about it
 * @param engine the PyTorch engine also trains what the native one does not know
 * @throws ConfigError when the engine cannot run this architecture
 */
export function modelFacts(
  folder: string,
  name: string,
  isNew = false,
  engine: EngineConfig['name'] = 'native',
): ModelFactsForPlan {
  const source = openModel(folder);
  try {
    const facts = describeModel(source);
    const known = engine === 'native' ? findFamily(source.config).parse(source.config) : knownDecoder(source.config);
    const decoder = known ?? anyFamily(source, facts);
    if (facts.tokenizerProblem)
      throw new ConfigError(`${folder}: its tokenizer cannot be used: ${facts.tokenizerProblem}`);
    const isInstruct = facts.tuning.kind === 'instruct';
    const shape = {
      modelType: facts.family,
      hidden: decoder.hidden,
      layers: decoder.numLayers,
      vocab: decoder.vocabSize,
      context: decoder.context,
    };
    const published = isNew ? undefined : knownModel(name, shape);
    const recorded = recordedPretraining(facts);
    const { tokenizer } = facts;
    return {
      name,
      family: facts.family,
      tokenizer: tokenizer && {
        kind: tokenizer.kind,
        vocabSize: tokenizer.vocabSize,
        hasChatTemplate: tokenizer.chatTemplate,
      },
      numParameters: facts.parameters.total,
      numNonEmbedding: facts.parameters.nonEmbedding,
      context: decoder.context,
      vocabSize: decoder.vocabSize,
      hidden: decoder.hidden,
      numLayers: decoder.numLayers,
      attentionWidth: decoder.numHeads * decoder.headDim,
      experts: decoder.experts && {
        num: decoder.experts.num,
        perToken: decoder.experts.perToken,
        numActive: facts.parameters.active,
        balanceLoss: decoder.experts.balanceLoss,
      },
      ...(known ? {} : { onlyByTorch: true, ...oddities(source) }),
      isInstruct,
      isInstructWhy: tuningReason(facts.tuning),
      // What the checkpoint says of itself is of these very weights; the literature is of the model that it looks like.
      pretraining: recorded ?? (published && publishedPretraining(published.pretraining, isInstruct)),
      known:
        recorded || !published
          ? undefined
          : { names: published.names, base: published.base, instruct: published.instruct },
    };
  } finally {
    source.close();
  }
}

/** Counts memory for the planner. @param reference folder of the model that tokens are chosen by */
export function memoryCounter(folder: string, reference?: string): PlanInputs['countMemory'] {
  const own = readShape(folder);
  const beside = reference === undefined ? undefined : readShape(reference);
  return (shape) => {
    const counted = own.any ? memoryOfAny(own.any, shape) : countMemory(own.config, shape, own.has);
    if (!shape.selectTokens) return counted;
    const read = beside!.any ? readingOfAny(beside!.any, shape) : countReading(beside!.config, shape, beside!.has);
    return {
      ...counted,
      stateBytes: counted.stateBytes + read.stateBytes,
      activationBytes: counted.activationBytes + read.activationBytes,
    };
  };
}

/** Likewise, on each GPU of the PyTorch engine. */
export function gpuMemoryCounter(folder: string, reference?: string): PlanInputs['countWorkerMemory'] {
  const own = readShape(folder);
  const beside = reference === undefined ? undefined : readShape(reference);
  return (shape) => {
    const counted = own.any ? gpuMemoryOfAny(own.any, shape) : countWorkerMemory(own.config, shape, own.has);
    if (!shape.selectTokens) return counted;
    // Of a model that is only read a rank holds its part, and its embeddings whole.
    const { weightBytes, rootBytes } = beside!.any
      ? { weightBytes: readingOfAny(beside!.any, shape).stateBytes / shape.ranks, rootBytes: 0 }
      : countWorkerReading(beside!.config, shape, beside!.has);
    return {
      ...counted,
      besideBytes: counted.besideBytes + weightBytes,
      gatheredBytes: counted.gatheredBytes + rootBytes,
      totalBytes: counted.totalBytes + weightBytes + rootBytes,
    };
  };
}

function readShape(model: string) {
  const source = openModel(model);
  const { config, tensors } = source;
  const names = new Set(tensors.keys());
  const any = knownDecoder(config) ? undefined : { ...describeModel(source), tensors: tensorShapes(source) };
  source.close();
  return { config, has: (name: string) => names.has(name), any };
}

/** Of the logits of a chunk of 2^28 instead of 2^26 elements, in f32 twice (worker/continuo_worker/loss.py). */
const MORE_LOGIT_BYTES = 2 * 4 * (2 ** 28 - 2 ** 26);
/** Of a model's weights that is whole at a time, where its blocks are not known. Assumption. */
const GATHERED_SHARE = 0.25;

function gpuMemoryOfAny(
  any: Parameters<typeof memoryOfAny>[0],
  shape: Parameters<PlanInputs['countWorkerMemory']>[0],
): ReturnType<PlanInputs['countWorkerMemory']> {
  const { stateBytes, activationBytes, numTrained } = memoryOfAny(any, {
    ...shape,
    recompute: shape.recompute === true,
  });
  const ofRank = stateBytes / shape.ranks;
  const trained = (bytes: number) => (bytes * numTrained) / shape.ranks;
  const counted = {
    weightBytes: ofRank - trained(12),
    gradientBytes: trained(4),
    momentBytes: trained(8),
    besideBytes: 0,
    gatheredBytes: GATHERED_SHARE * (ofRank * shape.ranks - 12 * numTrained),
    activationBytes,
    // A GPU takes larger chunks of logits than a processor, whose are counted with the activations.
    logitBytes: MORE_LOGIT_BYTES,
  };
  return { ...counted, totalBytes: Object.values(counted).reduce((sum, bytes) => sum + bytes, 0) };
}

/**
 * Of an adapter that is trained on.
 * @throws ConfigError where its modules are not alike, or where it holds what is not trained here
 */
export function adapterFacts(folder: string): AdapterFacts {
  const adapter = new PeftFolder(folder);
  adapter.close();
  const { rank, alpha, rsLora, dora, modules, replaced } = adapter;
  const scale = alpha / (rsLora ? Math.sqrt(rank) : rank);
  const odd = [...modules].find(([, module]) => module.rank !== rank || module.scale !== scale);
  if (odd)
    throw new ConfigError(
      `training.lora.from: ${folder}: ${odd[0]} has rank ${odd[1].rank} and scale ${odd[1].scale}, expected ${rank} and ${scale} as in adapter_config.json. Adapters are continued where all are alike; others can be merged (continuo adapter merge).`,
    );
  const whole = [...replaced.keys()];
  const untrained = whole.find((name) => !isEmbedding(name) && !isHead(name));
  if (untrained !== undefined)
    throw new ConfigError(
      `training.lora.from: ${folder}: holds ${untrained}, which is not trained beside adapters here; expected embedding and output matrices at most. Merge it instead (continuo adapter merge).`,
    );
  const targets = [...new Set([...modules.keys()].map((name) => name.split('.').at(-1)!))].sort();
  return { rank, alpha, rsLora, dora, targets, embeddings: whole.length > 0 };
}

/** The strongest evidence for the guess, as a part of a sentence. */
function tuningReason({ kind, evidence }: ModelFacts['tuning']): string {
  const certainty = kind === 'unclear' ? 'base or instruct is unclear' : 'probably';
  const speaking = evidence.filter((item) => kind === 'unclear' || item.for === kind);
  const strongest = Math.max(...speaking.map((item) => item.weight));
  const texts = speaking.filter((item) => item.weight === strongest).map((item) => item.text);
  return [certainty, ...(texts.length > 0 ? [texts.join('; ')] : [])].join(': ');
}

/** Tells other weights in the same folder apart. */
export function modelDigest(folder: string): string {
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.safetensors') || name === 'config.json');
  return fingerprint(files.sort().map((name) => [name, sampleDigest(path.join(folder, name))]));
}

/** What our own checkpoints record of their pretraining in config.json, under continuo.pretraining. */
function recordedPretraining(facts: ModelFacts): PretrainingFacts | undefined {
  const recorded = facts.training?.pretraining;
  if (!recorded || typeof recorded !== 'object') return undefined;
  const number = (key: string, least = Number.MIN_VALUE): number | undefined => {
    const value = (recorded as Record<string, unknown>)[key];
    return typeof value === 'number' && value >= least ? value : undefined;
  };
  return {
    finalLr: number('finalLr', 0),
    peakLr: number('peakLr'),
    tokens: number('tokens'),
    batchTokens: number('batchTokens'),
    source: "the model's config.json",
  };
}

function publishedPretraining(facts: PretrainingFacts, isInstruct: boolean): PretrainingFacts {
  return isInstruct ? { ...facts, source: `${facts.source}; of its base model, instruction tuning came after` } : facts;
}

export function corpusFacts(corpus: PreparedCorpus): CorpusFacts {
  const { name, role, manifest } = corpus;
  return {
    name,
    role,
    numTokens: manifest.train.numTokens,
    numDocuments: manifest.train.numDocuments,
    numBytes: manifest.train.numBytes,
    heldOut: { numTokens: manifest.heldOut.numTokens, numDocuments: manifest.heldOut.numDocuments },
    ...(role === 'instruction' ? { hasChatMarkup: manifest.conversations?.byTemplate ?? false } : {}),
    ...corpusStatistics(corpus),
  };
}

/** What the text to train on is like. */
function corpusStatistics({ manifest }: PreparedCorpus): Partial<CorpusFacts> {
  const { train, languages } = manifest;
  if (train.numTokens === 0) return {};
  const bytes = Object.values(languages).reduce((sum, n) => sum + n, 0);
  // A start and an end token a document.
  const textTokens = train.numTokens - 2 * train.numDocuments;
  return {
    numCopies: train.numCopies,
    numWords: train.numWords,
    ...(train.numWords > 0 ? { tokensPerWord: Number((textTokens / train.numWords).toFixed(3)) } : {}),
    languages: Object.fromEntries(
      Object.entries(languages).map(([language, n]) => [language, Number((n / bytes).toFixed(3))]),
    ),
  };
}
