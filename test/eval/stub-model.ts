// A language model of the contract that answers by a function: for tests of what is done with answers.
import type { LanguageModel } from '../../src/eval/index.ts';

export interface StubOptions {
  answer: (prompt: string) => string;
  /** What asking for likelihoods throws; without it every word of a continuation is a token of 2 nats. */
  likelihood?: Error;
  maxTokens?: number;
}

export function stubModel(name: string, { answer, likelihood, maxTokens = 1 << 20 }: StubOptions): LanguageModel {
  const words = (text: string): number => text.split(/\s+/).filter(Boolean).length;
  return {
    name,
    maxTokens,
    fingerprint: name,
    likelihoods: async (requests) => {
      if (likelihood) throw likelihood;
      return requests.map(({ continuation }) => ({
        logLikelihood: -2 * words(continuation),
        isGreedy: false,
        numTokens: words(continuation),
      }));
    },
    rollingLikelihoods: async (texts) => texts.map((text) => -2 * words(text)),
    generate: async (requests) => requests.map(({ prompt }) => answer(prompt)),
    renderChat: (messages) => messages.map(({ content }) => content).join('\n'),
    close: () => {},
  };
}
