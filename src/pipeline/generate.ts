// Text from a model: opens it, writes the prompt as its tokenizer and template want it, and generates.
import { cacheFolder } from '../base/package.ts';
import { openModel, resolveModel } from '../checkpoint/index.ts';
import {
  checkSampling,
  type GeneratedText,
  generateText,
  loadForInference,
  type SamplingOptions,
  stopTokens,
} from '../nn/index.ts';
import { renderChat, type Tokenizer } from '../tokenizer/index.ts';
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
