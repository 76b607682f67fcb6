// Generation: key-value cache, sampling, batches of sequences, text.
export { type FinishReason, GenerationBatch, type Sequence, type SequenceOptions } from './batch.ts';
export { KeyValueCache } from './cache.ts';
export { checkSampling, GREEDY, Sampler, type SamplingOptions, type TokenLogprob, tokenLogprob } from './sampling.ts';
export { type GeneratedText, generateText, StopTexts, stopTokens, type TextOptions } from './text.ts';
