// Samples that ask for something far back in a long prompt: RULER's tasks, at a length and a depth.
export {
  LONG_CONTEXT_KINDS,
  type LongContextKind,
  type LongContextOptions,
  type LongContextSample,
  longContextSample,
  matchAll,
  matchPart,
  type QuestionPool,
  readQuestions,
  scoreLongContext,
} from './generate.ts';
export { type LongContextCell, type LongContextProbe, probeLongContext } from './probe.ts';
