// Measures the shift between the domain and what the model knows: how well the model predicts each, and how far their tokens' frequencies
// lie apart. Kept in the cache under the fingerprint of model and corpora.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { readJson, writeJsonAtomic } from '../base/files.ts';
import { fingerprint } from '../base/hash.ts';
import { formatCount, formatSeconds } from '../base/units.ts';
import { openModel } from '../checkpoint/index.ts';
import { loadForInference, precisionOf } from '../nn/index.ts';
import {
  assessShift,
  divergence,
  FORWARD_SHARE,
  type HardwareFacts,
  type ModelFactsForPlan,
  type Shift,
} from '../recipe/index.ts';
import { openShard, type PreparedCorpus } from '../shards/index.ts';
import { modelDigest } from './facts.ts';
import { heldOutSets, MAX_DEFAULT_WINDOW, scoreTexts } from './texts.ts';
import type { PipelineOptions } from './types.ts';

/** Raise it when the same input would give another shift. */
const VERSION = 1;
/** Held-out tokens a corpus: the standard error of its bits per byte is then near a hundredth. Fewer where scoring would take long. */
const MAX_SCORED_TOKENS = 50_000;
const MIN_SCORED_TOKENS = 10_000;
const MAX_SCORING_SECONDS = 120;
/** Share of the memory that the weights may take. */
const MAX_MEMORY_SHARE = 0.5;

/** Tokens a sample, from pieces spread over the whole corpus: short ones, so that many documents have a part. */
const MAX_SAMPLE_TOKENS = 200_000;
const MIN_SAMPLE_TOKENS = 10_000;
const PIECE_TOKENS = 128;

export interface ShiftRequest {
  /** Hugging Face folder. */
  model: string;
  facts: ModelFactsForPlan;
  corpora: readonly PreparedCorpus[];
  /** Speed of training, for how much can be scored. */
  hardware: HardwareFacts;
  cache: string;
}

/** @param request its corpora: domain and general ones among them @returns no value where they are too small to tell */
export async function measureShift(
  request: ShiftRequest,
  options: PipelineOptions,
): Promise<{ value: Shift | undefined; reused: boolean }> {
  const general = request.corpora.filter(({ role }) => role === 'general');
  const learned = request.corpora.filter(({ role }) => role === 'domain');
  const inputs = {
    ...{ stage: 'shift', version: VERSION, model: modelDigest(request.model) },
    corpora: [...learned, ...general].map(({ name, role, manifest }) => [name, role, manifest.fingerprint]),
  };
  const file = path.join(request.cache, `shift-${fingerprint(inputs)}.json`);
  if (fs.existsSync(file) && !options.fresh) return { value: readJson<{ shift?: Shift }>(file).shift, reused: true };
  options.log?.('Measuring how far the domain lies from what the model knows (--no-measure leaves it out).');
  const scores = await scoreCorpora(request, [...learned, ...general], options);
  const notScored = typeof scores === 'string' ? scores : undefined;
  const evidence = learned
    .map((corpus) => ({
      corpus: corpus.name,
      ...(typeof scores !== 'string' && {
        bitsPerByte: { corpus: pooled([corpus], scores), general: pooled(general, scores) },
      }),
      ...compareFrequencies(corpus, general),
    }))
    .filter(({ bitsPerByte, frequencies }) => bitsPerByte || frequencies);
  const names = general.map(({ name }) => name);
  const shift = evidence.length > 0 ? assessShift(evidence, names, notScored) : undefined;
  if (notScored) options.log?.(`${notScored[0]!.toUpperCase()}${notScored.slice(1)}.`);
  writeJsonAtomic(file, { inputs, shift });
  return { value: shift, reused: false };
}

type Scores = Map<string, { bitsPerByte: number; numBytes: number }>;

/** @returns why there are none where the model is too large to be scored here */
async function scoreCorpora(
  { model, facts, hardware }: ShiftRequest,
  corpora: readonly PreparedCorpus[],
  options: PipelineOptions,
): Promise<Scores | string> {
  const speed = (hardware.tokensPerSecond ?? 0) / FORWARD_SHARE;
  const affordable = Math.floor((speed * MAX_SCORING_SECONDS) / corpora.length);
  if (affordable < MIN_SCORED_TOKENS)
    return speed > 0
      ? `bits per byte were not measured: ${formatCount(MIN_SCORED_TOKENS)} tokens a corpus would take about ${formatSeconds((MIN_SCORED_TOKENS * corpora.length) / speed)} here`
      : 'bits per byte were not measured: the speed of this machine is not known';
  const source = openModel(model);
  try {
    const precision = precisionOf(source);
    const weightBytes = facts.numParameters * (precision === 'bf16' ? 2 : 4);
    if (hardware.memoryBytes && weightBytes > hardware.memoryBytes * MAX_MEMORY_SHARE)
      return 'bits per byte were not measured: the weights alone would fill the memory here';
    const { decoder } = loadForInference(source, options);
    const seqLen = Math.min(facts.context, MAX_DEFAULT_WINDOW);
    const scores: Scores = new Map();
    for (const set of heldOutSets(corpora, seqLen, Math.min(MAX_SCORED_TOKENS, affordable)))
      scores.set(set.name, await scoreTexts(decoder, set, seqLen, options));
    return scores;
  } finally {
    source.close();
  }
}

/** Each set counts by its bytes. */
function pooled(corpora: readonly PreparedCorpus[], scores: Scores): number {
  const all = corpora.map(({ name }) => scores.get(name)!);
  const numBytes = all.reduce((sum, score) => sum + score.numBytes, 0);
  return all.reduce((sum, score) => sum + score.bitsPerByte * score.numBytes, 0) / numBytes;
}

/** Between a corpus and the general text, samples of one size; nothing where a sample would be too small to tell. */
function compareFrequencies(corpus: PreparedCorpus, general: readonly PreparedCorpus[]) {
  const available = Math.min(numTokens([corpus]), numTokens(general) / 2, MAX_SAMPLE_TOKENS);
  if (available < MIN_SAMPLE_TOKENS) return {};
  const numPieces = Math.floor(available / PIECE_TOKENS);
  const [sample] = countTokens([corpus], numPieces, 1);
  const [half, otherHalf] = countTokens(general, 2 * numPieces, 2);
  return {
    frequencies: {
      divergence: (divergence(sample!, half!) + divergence(sample!, otherHalf!)) / 2,
      baseline: divergence(half!, otherHalf!),
      sampleTokens: numPieces * PIECE_TOKENS,
    },
  };
}

function numTokens(corpora: readonly PreparedCorpus[]): number {
  return corpora.reduce((sum, { manifest }) => sum + manifest.train.numTokens, 0);
}

/** Counts by token of pieces spread evenly over the corpora, dealt in turn to `numSamples` samples. */
function countTokens(corpora: readonly PreparedCorpus[], numPieces: number, numSamples: number): Float64Array[] {
  const samples = Array.from(
    { length: numSamples },
    () => new Float64Array(Math.max(...corpora.map(({ manifest }) => manifest.vocabSize))),
  );
  const shards = corpora.map(({ trainPrefix }) => openShard(trainPrefix));
  try {
    const total = shards.reduce((sum, shard) => sum + shard.numTokens, 0);
    let shard = 0;
    let before = 0;
    for (let i = 0; i < numPieces; i++) {
      const at = Math.floor((i / numPieces) * total);
      while (at >= before + shards[shard]!.numTokens) before += shards[shard++]!.numTokens;
      const { numTokens: size } = shards[shard]!;
      const first = Math.max(0, Math.min(at - before, size - PIECE_TOKENS));
      for (const id of shards[shard]!.read(first, Math.min(PIECE_TOKENS, size))) samples[i % numSamples]![id]!++;
    }
    return samples;
  } finally {
    for (const one of shards) one.close();
  }
}
