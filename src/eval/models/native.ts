// A checkpoint in this process as a LanguageModel. Requests become tokens by lm-evaluation-harness's rules (encode.ts) and are computed in
// whatever order costs least (score.ts).
import * as fs from 'node:fs';
import * as path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { ConfigError } from '../../base/errors.ts';
import { fingerprint, sampleDigest } from '../../base/hash.ts';
import type { ModelSource } from '../../checkpoint/index.ts';
import { type Decoder, GenerationBatch, GREEDY, type Sequence } from '../../nn/index.ts';
import { renderChat, type Tokenizer } from '../../tokenizer/index.ts';
import type { ChatMessage, LanguageModel, Likelihood, LikelihoodRequest, TextRequest, Tick } from '../types.ts';
import { RequestEncoder } from './encode.ts';
import { planSlots, score } from './score.ts';

export interface NativeModelOptions {
  /** As shown in tables; the checkpoint's path unless given. */
  name?: string;
  /** Room for a request and its answer, tokens; the model's context unless given. */
  maxTokens?: number;
}

/**
 * Answers are generated eight at a time: so many share one pass over the weights, and up to eight rows a product takes each row by itself,
 * so that no answer depends on what is generated beside it.
 */
const MAX_ANSWERS = 8;
/** Tokens of a prompt that are read at once, and the unit in which prompts share what they begin with. */
const PROMPT_TOKENS = 128;

/**
 * @param source stays open as long as the model is used; close() closes it
 * @throws ConfigError for more room than the model has
 */
export function nativeModel(source: ModelSource, decoder: Decoder, options: NativeModelOptions = {}): LanguageModel {
  const { context } = decoder.config;
  const maxTokens = options.maxTokens ?? context;
  if (!Number.isInteger(maxTokens) || maxTokens < 1 || maxTokens > context)
    throw new ConfigError(`maxTokens: expected 1 to the model's context of ${context}, found ${maxTokens}.`);
  return new NativeModel(source, decoder, options.name ?? source.path, maxTokens);
}

class NativeModel implements LanguageModel {
  readonly name: string;
  readonly maxTokens: number;
  readonly fingerprint: string;
  private readonly source: ModelSource;
  private readonly decoder: Decoder;
  private readonly tokenizer: Tokenizer;
  private readonly encoder: RequestEncoder;

  constructor(source: ModelSource, decoder: Decoder, name: string, maxTokens: number) {
    this.source = source;
    this.decoder = decoder;
    this.name = name;
    this.maxTokens = maxTokens;
    this.tokenizer = source.tokenizer();
    this.encoder = new RequestEncoder(this.tokenizer, maxTokens);
    const { files, chatTemplate } = this.tokenizer;
    this.fingerprint = fingerprint({
      weights: weightFiles(source.path).map((file) => [path.basename(file), sampleDigest(file)]),
      config: source.config,
      generation: source.generationConfig,
      tokenizer: [files, chatTemplate],
      precision: decoder.precision,
      maxTokens,
    });
  }

  async likelihoods(requests: readonly LikelihoodRequest[], tick?: Tick): Promise<Likelihood[]> {
    const scored = requests.map((request) => this.encoder.pair(request));
    return score(this.decoder, scored, true, tick);
  }

  async rollingLikelihoods(texts: readonly string[], tick: Tick = () => {}): Promise<number[]> {
    const windows = texts.map((text) => this.encoder.windows(text));
    const all = windows.flat();
    const scores = await score(this.decoder, all, false, (done) =>
      tick(Math.floor((done * texts.length) / all.length)),
    );
    let at = 0;
    return windows.map(({ length }) => {
      const own = scores.slice(at, at + length);
      at += length;
      return own.reduce((sum, { logLikelihood }) => sum + logLikelihood, 0);
    });
  }

  async generate(requests: readonly TextRequest[], tick: Tick = () => {}): Promise<string[]> {
    if (requests.length === 0) return [];
    const prompts = requests.map(({ prompt, maxTokens }) => this.encoder.prompt(prompt, maxTokens));
    const lengths = requests.map(({ maxTokens }, i) => prompts[i]!.length + maxTokens);
    const capacity = lengths.reduce((a, b) => Math.max(a, b));
    const numSlots = planSlots(this.decoder, capacity, Math.min(MAX_ANSWERS, requests.length));
    const batch = new GenerationBatch(this.decoder, numSlots, capacity, PROMPT_TOKENS);
    const stopTokens = endTokens(this.source, this.tokenizer);
    const endings = new Map<Sequence, Endings>();
    // The longest first, so that the last ones are short.
    const order = requests.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]!);
    const sequences: Sequence[] = [];
    for (const i of order) {
      const { until, maxTokens, temperature = 0, topP = 1, topK = 0, seed = 0 } = requests[i]!;
      const sampling = { ...GREEDY, temperature, topP, topK, seed };
      sequences[i] = batch.add(prompts[i]!, { maxTokens, stopTokens, sampling });
      endings.set(sequences[i]!, new Endings(this.tokenizer, until));
    }
    let numDone = 0;
    while (batch.isBusy) {
      for (const sequence of batch.step()) {
        const ends = sequence.finished === undefined && endings.get(sequence)!.end(sequence.tokens);
        if (ends) batch.remove(sequence);
        if (ends || sequence.finished) tick(++numDone);
      }
      await nextTurn();
    }
    return sequences.map((sequence) => endings.get(sequence)!.textOf(sequence.tokens));
  }

  renderChat(messages: readonly ChatMessage[]): string {
    // A beginning of the answer is gone on with, not followed by another turn (transformers' continue_final_message).
    const last = messages.at(-1);
    const begun = last?.role === 'assistant' ? last.content : undefined;
    const options = { addGenerationPrompt: begun === undefined };
    const withoutSystem = messages.filter(({ role }) => role !== 'system');
    try {
      return cutAfter(begun, renderChat(this.tokenizer, messages, options));
    } catch (error) {
      // As lm-evaluation-harness does for templates that know no system message.
      if (!(error instanceof ConfigError) || withoutSystem.length === messages.length) throw error;
      return cutAfter(begun, renderChat(this.tokenizer, withoutSystem, options));
    }
  }

  close(): void {
    this.source.close();
  }
}

/** A conversation up to the last place of a text, white space at its end included where the template keeps it. */
function cutAfter(begun: string | undefined, text: string): string {
  if (begun === undefined) return text;
  const at = text.lastIndexOf(begun.trim());
  if (at < 0) throw new ConfigError("the model's chat template leaves out the beginning of an answer (gen_prefix).");
  const kept = begun.trimStart();
  return text.slice(0, at + (text.startsWith(kept, at) ? kept.length : begun.trim().length));
}

/**
 * Texts that end an answer, found as lm-evaluation-harness finds them (models/utils_hf.py): in the last few tokens, special tokens written
 * out, and then cut off the whole answer, special tokens left out.
 */
class Endings {
  private readonly tokenizer: Tokenizer;
  private readonly texts: { text: string; numTokens: number }[];

  constructor(tokenizer: Tokenizer, until: readonly string[]) {
    this.tokenizer = tokenizer;
    const all = new Set([...until, tokenizer.eosToken ?? '']);
    all.delete('');
    // The same text may be written in two tokens more than its own.
    const lengthOf = (text: string) => tokenizer.encode(text, { parseSpecial: true }).length + 2;
    this.texts = [...all].map((text) => ({ text, numTokens: lengthOf(text) }));
  }

  /** Whether the last of these tokens completes one. */
  end(tokens: readonly number[]): boolean {
    return this.texts.some(({ text, numTokens }) => this.tokenizer.decode(tokens.slice(-numTokens)).includes(text));
  }

  textOf(tokens: readonly number[]): string {
    const whole = this.tokenizer.decode(tokens, { skipSpecial: true });
    return this.texts.reduce((rest, { text }) => rest.split(text, 1)[0]!, whole);
  }
}

/** The model's end-of-sequence tokens, of which there may be several, and its tokenizer's. */
function endTokens({ path: where, config, generationConfig }: ModelSource, tokenizer: Tokenizer): Set<number> {
  const named = generationConfig?.eos_token_id ?? config.eos_token_id ?? [];
  const ids = [named].flat() as number[];
  if (!ids.every((id) => Number.isInteger(id)))
    throw new ConfigError(
      `${where}: eos_token_id: expected a token id or a list of them, found ${JSON.stringify(named)}.`,
    );
  const own = tokenizer.eosToken === undefined ? undefined : tokenizer.tokenToId(tokenizer.eosToken);
  return new Set(own === undefined ? ids : [...ids, own]);
}

function weightFiles(where: string): string[] {
  if (fs.statSync(where).isFile()) return [where];
  const names = fs.readdirSync(where).filter((name) => name.endsWith('.safetensors'));
  return names.sort().map((name) => path.join(where, name));
}
