// Model folders: reading safetensors and GGUF, writing Hugging Face folders, fetching from the hub, describing a model.
export { type FetchOptions, fetchModel, resolveModel } from './hub.ts';
export {
  describeModel,
  type Evidence,
  type ModelFacts,
  type TokenizerFacts,
  type TrainingRecord,
  type TuningGuess,
} from './inspect.ts';
export { elementCount, rounded, toStored } from './numbers.ts';
export { openModel } from './open.ts';
export { type PeftFactors, PeftFolder, type PeftModule } from './peft.ts';
export { type NewRow, resizeVocabulary } from './resize.ts';
export { SafetensorsFile, writeSafetensors } from './safetensors.ts';
export { saveModel, writeModelInto } from './save.ts';
export { isBuffer, isEmbedding, isHead, isHeadBias, isPositions } from './tensor-names.ts';
export type { HfConfig, ModelSource, ModelToWrite, TensorDtype, TensorInfo, TensorToWrite } from './types.ts';
