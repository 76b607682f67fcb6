// What the base model says of each document: how well it foretells the text (what it knows by heart teaches nothing, what it cannot foretell
// at all is often no text; Wenzek et al. 2020, arXiv 1911.00359, keep bands of perplexity, here in bits per byte, so that limits do not
// depend on the tokenizer), and of a conversation, how much the question helps with the answer (Li et al. 2023, arXiv 2308.12032).
import { isUserError } from '../base/errors.ts';
import { fingerprint } from '../base/hash.ts';
import { Progress } from '../base/progress.ts';
import type { Config, ScoreConfig } from '../config/index.ts';
import {
  type CuratedCorpus,
  instructionFollowingDifficulty,
  orderCorpus,
  rewriteCorpus,
  type Step,
} from '../corpus/index.ts';
import { type ChatMessage, encodeConversation, type Tokenizer } from '../tokenizer/index.ts';
import { type DocumentScore, LossReader, MAX_SCORED_TOKENS, type Reading } from './document-losses.ts';
import { modelDigest } from './facts.ts';
import type { PipelineOptions } from './types.ts';

/** Of a document's beginning: enough to tell, and a long document costs no more than a page. */
const DEFAULT_TOKENS = 512;

const BITS_PER_BYTE: DocumentScore = {
  name: 'bitsPerByte',
  begin({ text }, tokenizer, tokens) {
    // No token is longer than this on average over a page, and encoding a book for its first page would be a waste.
    const beginning = text.slice(0, 16 * tokens);
    const ids = tokenizer.encode(beginning).slice(0, tokens);
    const read = ids.length < tokens ? beginning : tokenizer.decode(ids);
    const numBytes = Math.max(1, Buffer.byteLength(read));
    return {
      pieces: [Int32Array.from([tokenizer.documentStart, ...ids])],
      value: ([losses]) => sum(losses!) / Math.LN2 / numBytes,
    };
  },
};

const DIFFICULTY: DocumentScore = {
  name: 'ifd',
  begin({ messages }, tokenizer, tokens) {
    return messages && beginAnswer(messages, tokenizer, tokens);
  },
};

/** The first answer: after what comes before it, and alone. */
function beginAnswer(messages: readonly ChatMessage[], tokenizer: Tokenizer, tokens: number): Reading | undefined {
  const end = messages.findIndex(({ role }) => role === 'assistant') + 1;
  const encoded = end > 1 ? encodeOrNone(tokenizer, messages.slice(0, end)) : undefined;
  if (!encoded) return undefined;
  const ids = encoded.ids.slice(0, tokens);
  const answer = ids.filter((_, i) => encoded.answers[i] === 1);
  if (answer.length === 0) return undefined;
  return {
    pieces: [[...ids], answer].map((list) => Int32Array.from([tokenizer.documentStart, ...list])),
    value([whole, alone]) {
      const withQuestion = whole!.reduce((total, loss, i) => total + (encoded.answers[i] === 1 ? loss : 0), 0);
      const without = sum(alone!);
      return without > 0
        ? instructionFollowingDifficulty(withQuestion / answer.length, without / answer.length)
        : undefined;
    },
  };
}

/** None where the model's template refuses the conversation, as it is when the corpus is tokenised. */
function encodeOrNone(tokenizer: Tokenizer, messages: readonly ChatMessage[]) {
  try {
    return encodeConversation(tokenizer, messages);
  } catch (error) {
    if (isUserError(error)) return undefined;
    throw error;
  }
}

const sum = (losses: Float32Array): number => losses.reduce((total, loss) => total + loss, 0);

/** Corpora that ask for it with these scores as metadata, without what lies outside their limits, and in their order. */
export async function scoreCorpora(
  config: Config,
  curated: ReadonlyMap<string, CuratedCorpus>,
  { model, context, cache }: { model: string; context: number; cache: string },
  options: PipelineOptions,
): Promise<Map<string, CuratedCorpus>> {
  const result = new Map(curated);
  const scores = new Scores(model, cache, options);
  for (const { name, bitsPerByte, ifd, order } of config.corpora) {
    let corpus = result.get(name);
    if (!corpus) continue;
    if (bitsPerByte) corpus = await scores.add(corpus, 'bitsPerByte', bitsPerByte, context);
    if (ifd) corpus = await scores.add(corpus, 'ifd', ifd, context);
    if (order) corpus = await orderCorpus(corpus, { ...order, cacheFolder: cache, fresh: options.fresh });
    result.set(name, corpus);
  }
  return result;
}

/** Conversations with the difficulty of their answers as metadata, as selection takes them. @param model Hugging Face folder */
export async function scoreDifficulty(
  corpus: CuratedCorpus,
  model: string,
  cache: string,
  options: PipelineOptions,
): Promise<CuratedCorpus> {
  const scored = await new Scores(model, cache, options).add(corpus, 'ifd', {}, MAX_SCORED_TOKENS);
  return scored;
}

class Scores {
  private readonly model: string;
  private readonly cache: string;
  private readonly options: PipelineOptions;
  private reader: LossReader | undefined;

  constructor(model: string, cache: string, options: PipelineOptions) {
    this.model = model;
    this.cache = cache;
    this.options = options;
  }

  /** Part by part: after a killed process only the open part is scored again. */
  async add(
    corpus: CuratedCorpus,
    kind: 'bitsPerByte' | 'ifd',
    limits: ScoreConfig,
    context: number,
  ): Promise<CuratedCorpus> {
    const tokens = Math.min(limits.tokens ?? DEFAULT_TOKENS, context);
    const { name } = corpus.manifest;
    const progress = new Progress({ label: `scoring ${name}`, quiet: this.options.quiet });
    const scored = await rewriteCorpus(corpus, {
      stage: kind === 'ifd' ? 'difficulty' : 'scored',
      fingerprint: fingerprint({
        ...{ stage: kind === 'ifd' ? 'difficulty' : 'scored', version: 1, model: modelDigest(this.model) },
        ...{ ...limits, tokens },
      }),
      cacheFolder: this.cache,
      fresh: this.options.fresh,
      change: (documents) => {
        this.reader ??= new LossReader(this.model, this.options);
        return this.reader.score(documents, kind === 'ifd' ? DIFFICULTY : BITS_PER_BYTE, tokens);
      },
      step: kind === 'ifd' ? difficultyStep(limits) : surpriseStep(limits),
      onPart: (done, total) => progress.update(done, `${total} parts`),
    });
    progress.finish();
    return scored;
  }
}

const surpriseStep = (limits: ScoreConfig): Step =>
  bandStep('bits-per-byte', 'bitsPerByte', limits, ['too well known', 'too surprising']);

const difficultyStep = (limits: ScoreConfig): Step =>
  bandStep('instruction-difficulty', 'ifd', limits, [
    'the question gives the answer away',
    'the question does not help with the answer',
  ]);

/** What has no value stays. */
function bandStep(name: string, key: string, { min, max }: ScoreConfig, [low, high]: readonly [string, string]): Step {
  return {
    name,
    apply({ document }) {
      const value = document.metadata?.[key];
      if (typeof value !== 'number') return undefined;
      if (min !== undefined && value < min) return { removed: { reason: low, value, limit: min } };
      if (max !== undefined && value > max) return { removed: { reason: high, value, limit: max } };
      return undefined;
    },
  };
}
