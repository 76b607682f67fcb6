// Samples of what a model under training writes: it goes on from fixed prompts, with the weights as they stand.
import * as path from 'node:path';
import { type Decoder, GenerationBatch, GREEDY } from '../nn/index.ts';
import { SAMPLES_AT_ONCE } from '../recipe/index.ts';
import type { Job } from '../shards/index.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { checkpointName } from './checkpoints.ts';
import type { WritingSample } from './protocol.ts';

/** evals/writing-step-*.json: what the model wrote on after `step` steps. */
export function writingFile(runFolder: string, step: number): string {
  return path.join(runFolder, 'evals', `writing-${checkpointName(step)}.json`);
}

/**
 * @param tick called between tokens
 * @throws ConfigError for a prompt that leaves no room in the model's context
 */
export async function writeSamples(
  decoder: Decoder,
  tokenizer: Tokenizer,
  stopTokens: ReadonlySet<number>,
  { prompts, maxTokens, temperature, seed }: NonNullable<Job['evaluation']['samples']>,
  tick: () => Promise<void>,
): Promise<WritingSample[]> {
  const longest = Math.max(...prompts.map(({ tokens }) => tokens.length));
  const batch = new GenerationBatch(decoder, SAMPLES_AT_ONCE, longest + maxTokens);
  const sequences = prompts.map(({ tokens }, i) =>
    batch.add(Int32Array.from(tokens), { maxTokens, stopTokens, sampling: { ...GREEDY, temperature, seed: seed + i } }),
  );
  while (batch.isBusy) {
    batch.step();
    await tick();
  }
  return sequences.map(({ prompt, tokens, finished }, i) => ({
    prompt: prompts[i]!.text,
    lastOfPrompt: prompt.at(-1)!,
    tokens: [...tokens],
    text: tokenizer.decode([...tokens]),
    ended: finished === 'stop',
  }));
}
