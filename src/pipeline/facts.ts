// Facts for the planner, gathered from an opened model and prepared corpora.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { fingerprint, sampleDigest } from '../base/hash.ts';
import { describeModel, type ModelFacts, openModel } from '../checkpoint/index.ts';
import { countMemory, findFamily } from '../nn/index.ts';
import type { CorpusFacts, ModelFactsForPlan, PlanInputs, PretrainingFacts } from '../recipe/index.ts';
import type { PreparedCorpus } from '../shards/index.ts';

/** @throws ConfigError when the native engine cannot run this architecture */
export function modelFacts(folder: string, name: string): ModelFactsForPlan {
  const source = openModel(folder);
  try {
    const decoder = findFamily(source.config).parse(source.config);
    const facts = describeModel(source);
    if (facts.tokenizerProblem)
      throw new ConfigError(`${folder}: its tokenizer cannot be used: ${facts.tokenizerProblem}`);
    return {
      name,
      numParameters: facts.parameters.total,
      numNonEmbedding: facts.parameters.nonEmbedding,
      context: decoder.context,
      vocabSize: decoder.vocabSize,
      hidden: decoder.hidden,
      experts: decoder.experts && {
        num: decoder.experts.num,
        perToken: decoder.experts.perToken,
        numActive: facts.parameters.active,
        balanceLoss: decoder.experts.balanceLoss,
      },
      isInstruct: facts.tuning.kind === 'instruct',
      isInstructWhy: tuningReason(facts.tuning),
      pretraining: pretrainingFacts(facts),
    };
  } finally {
    source.close();
  }
}

/** Counts memory for the planner. */
export function memoryCounter(folder: string): PlanInputs['countMemory'] {
  const source = openModel(folder);
  const { config } = source;
  source.close();
  return (shape) => countMemory(config, shape);
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
function pretrainingFacts(facts: ModelFacts): PretrainingFacts | undefined {
  const recorded = facts.training?.pretraining;
  if (!recorded || typeof recorded !== 'object') return undefined;
  const number = (key: string): number | undefined => {
    const value = (recorded as Record<string, unknown>)[key];
    return typeof value === 'number' && value > 0 ? value : undefined;
  };
  return {
    finalLr: number('finalLr'),
    peakLr: number('peakLr'),
    tokens: number('tokens'),
    batchTokens: number('batchTokens'),
    source: "the model's config.json",
  };
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
  };
}
