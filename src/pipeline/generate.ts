// Text from a model: opens it, writes the prompt as its tokenizer and template want it, and generates.
import { ConfigError } from '../base/errors.ts';
import { cacheFolder } from '../base/package.ts';
import { type ModelSource, openModel, resolveModel } from '../checkpoint/index.ts';
import { checkSampling, type GeneratedText, generateText, type SamplingOptions } from '../nn/index.ts';
import { renderChat, type Tokenizer } from '../tokenizer/index.ts';
import { loadForInference } from './model.ts';
import type { PipelineOptions } from './types.ts';

export interface GenerateRequest {
  prompt: string;
  /** The prompt is a user's message, written by the model's chat template. */
  chat: boolean;
  maxTokens: number;
  stop: string[];
  sampling: SamplingOptions;
}

export interface GenerateResult extends Omit<GeneratedText, 'tokens'> {
  model: string;
  /** Of activations; weights are as they are stored. */
  precision: 'bf16' | 'f32';
  numPromptTokens: number;
  numTokens: number;
}

/**
 * @param onText called with each piece of text as soon as it is certain
 * @throws ConfigError, DataError
 */
export async function generate(
  model: string,
  request: GenerateRequest,
  onText: (text: string) => void,
  options: PipelineOptions = {},
): Promise<GenerateResult> {
  checkSampling(request.sampling);
  const source = openModel(await resolveModel(model, cacheFolder(process.cwd()), { quiet: options.quiet }));
  try {
    const tokenizer = source.tokenizer();
    const prompt = promptTokens(tokenizer, request);
    const { decoder, precision } = loadForInference(source, options);
    const pieces = generateText(decoder, tokenizer, prompt, { ...request, stopTokens: stopTokens(source) });
    for (;;) {
      const { done, value } = await pieces.next();
      if (!done) {
        onText(value);
        continue;
      }
      const { tokens, ...result } = value;
      return { model, precision, numPromptTokens: prompt.length, numTokens: tokens.length, ...result };
    }
  } finally {
    source.close();
  }
}

/** As in training and scoring, a text begins a document; a conversation begins as its template says. */
function promptTokens(tokenizer: Tokenizer, { prompt, chat }: GenerateRequest): Int32Array {
  if (!chat) return Int32Array.from([tokenizer.documentStart, ...tokenizer.encode(prompt)]);
  const text = renderChat(tokenizer, [{ role: 'user', content: prompt }], { addGenerationPrompt: true });
  return Int32Array.from(tokenizer.encode(text, { parseSpecial: true }));
}

/** What ends an answer: the model's end-of-sequence tokens, of which there may be several, and the separator of its documents. */
export function stopTokens(source: ModelSource): Set<number> {
  const named = source.generationConfig?.eos_token_id ?? source.config.eos_token_id ?? [];
  const ids = Array.isArray(named) ? named : [named];
  if (!ids.every((id) => Number.isInteger(id)))
    throw new ConfigError(
      `${source.path}: eos_token_id: expected a token id or a list of them, found ${JSON.stringify(named)}.`,
    );
  return new Set([...(ids as number[]), source.tokenizer().documentEnd]);
}
