// The prompts that a model under training is sampled on, as tokens.
import { openModel } from '../checkpoint/index.ts';
import { INSTRUCTIONS, PROMPTS } from '../eval/index.ts';
import type { Plan, SamplePlan } from '../recipe/index.ts';
import type { Job } from '../shards/index.ts';
import { renderChat } from '../tokenizer/index.ts';

/** Beginnings of texts; for an instruct model questions, in the form of its template. */
export function samplesOf(
  { everySteps, prompts, draws, maxTokens, temperature }: SamplePlan,
  plan: Plan,
  model: string,
): Job['evaluation']['samples'] {
  const source = openModel(model);
  try {
    const tokenizer = source.tokenizer();
    const asksQuestions = plan.model.isInstruct && tokenizer.chatTemplate !== undefined;
    const texts = prompts ?? (asksQuestions ? INSTRUCTIONS : PROMPTS);
    const encode = (text: string): number[] =>
      asksQuestions
        ? tokenizer.encode(renderChat(tokenizer, [{ role: 'user', content: text }], { addGenerationPrompt: true }), {
            parseSpecial: true,
          })
        : [tokenizer.documentStart, ...tokenizer.encode(text)];
    // A short context keeps what a prompt ends with.
    const room = Math.max(1, plan.model.context - maxTokens);
    const encoded = texts.map((text) => ({ text, tokens: encode(text).slice(-room) }));
    const length = Math.min(maxTokens, Math.max(1, plan.model.context - 1));
    return {
      everySteps,
      prompts: Array.from({ length: draws }, () => encoded).flat(),
      maxTokens: length,
      temperature,
      seed: plan.seed,
    };
  } finally {
    source.close();
  }
}
