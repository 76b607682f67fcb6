// The door of the model layer.
export { adapterConfig, addLora, exportAdapters, type LoraSettings, readAdapters } from './adapters.ts';
export { type Batch, Decoder, type Segment, sequenceOf, type TrainExtras } from './decoder.ts';
export { prepareEma, updateEma, withEma } from './ema.ts';
export { type DecoderConfig, findFamily, knownDecoder, SUPPORTED_MODEL_TYPES } from './families/index.ts';
export { freezeTensors, frozenBy } from './freeze.ts';
export {
  checkSampling,
  type FinishReason,
  type GeneratedText,
  GenerationBatch,
  GREEDY,
  generateText,
  KeyValueCache,
  Sampler,
  type SamplingOptions,
  type Sequence,
  type SequenceOptions,
  StopTexts,
  stopTokens,
  type TextOptions,
  type TokenLogprob,
} from './generation/index.ts';
export { anchorAtInit, anchorAtWeights } from './guards/anchor.ts';
export { describeFisher, FisherSum, readFisher } from './guards/fisher.ts';
export {
  exportTensors,
  freshTensors,
  initDecoder,
  loadDecoder,
  loadForInference,
  loadFrozen,
  precisionOf,
  readWeights,
} from './load.ts';
export { countMemory, countReading, type TrainingMemory, type TrainingShape } from './memory.ts';
export type { TeacherRows, TopTokens } from './ops/cross-entropy.ts';
export { type AdamWSettings, adamwStep, gradNorm, prepareTraining } from './optimizer.ts';
export { type ExpertLoad, type RouterLosses, RouterStep } from './routing.ts';
export { silencedTensors } from './silence.ts';
export { Teacher } from './teacher.ts';
export { changeLayout, type Parameter, type Precision, partShape, partsOf } from './tensor.ts';
export { countWorkerMemory, countWorkerReading, type WorkerMemory, type WorkerShape } from './worker-memory.ts';
