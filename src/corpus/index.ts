// The corpus layer's door: files -> documents.
export type { Amount } from './curate/amount.ts';
export {
  type CuratedCorpus,
  type CuratedManifest,
  type CurateOptions,
  curateCorpus,
  describeLosses,
  type OpenWork,
  openWork,
  type SharedWork,
} from './curate/curate.ts';
export { type DeduplicateOptions, deduplicate } from './curate/deduplicate.ts';
export { type OrderOptions, orderCorpus } from './curate/order.ts';
export { readRecords } from './curate/part-file.ts';
export { type RewriteOptions, rewriteCorpus } from './curate/rewrite.ts';
export { type DecontaminateOptions, decontaminate } from './curate/steps/decontaminate.ts';
export { makeSteps, STEPS } from './curate/steps/index.ts';
export type {
  Edit,
  Removal,
  RemovedDocument,
  Step,
  StepCounts,
} from './curate/types.ts';
export { TextView } from './curate/view.ts';
export {
  buildContamination,
  type ContaminationIndex,
  type ContaminationMatch,
  type ContaminationOptions,
  DEFAULT_CONTAMINATION,
  type EvaluationSet,
  loadContamination,
} from './dedup/contamination.ts';
export {
  type Duplicate,
  type DuplicateSummary,
  type FindDuplicatesOptions,
  findDuplicates,
  readDuplicates,
} from './dedup/duplicates.ts';
export { DEFAULT_LINES, findRepeatedLines, LineCutter, type LineOptions, LineWriter } from './dedup/lines.ts';
export {
  DEFAULT_SIGNATURES,
  FINEWEB_MIN_HASH,
  type MinHashOptions,
  type SignatureOptions,
  SignatureWriter,
} from './dedup/signatures.ts';
export {
  DEFAULT_SUBSTRINGS,
  FingerprintWriter,
  findFingerprints,
  findRepeatedSpans,
  SpanCutter,
  type SubstringOptions,
  WindowWriter,
} from './dedup/substrings.ts';
export { expandBraces, globFiles } from './glob.ts';
export { countLanguages, countWords, guessLanguage, type Language } from './language.ts';
export { MAX_QUERIES, type MinedDocument, type MineOptions, type MineSummary, mineDocuments } from './mine.ts';
export {
  type FoundFiles,
  findInputFiles,
  type InputSummary,
  readerOf,
  SUPPORTED_ENDINGS,
  summariseInputs,
} from './paths.ts';
export { type ClassifyOptions, type ClassifySummary, classifyQuality } from './quality/classify.ts';
export type { QualityReport } from './quality/report.ts';
export { DEFAULT_MAX_BAD_SHARE, describeBadRecord, readCorpus, readFiles } from './read.ts';
export { instructionFollowingDifficulty } from './select/ifd.ts';
export { CORPORA_FILE, type SelectedDocument, type SelectionOutput } from './select/output.ts';
export { MAX_CLUSTERS } from './select/sample.ts';
export {
  type MapPoint,
  type SelectedCluster,
  type SelectedTopic,
  type SelectSummary,
  selectDocuments,
} from './select/select.ts';
export { SELECT_METHODS, type SelectMethod, type SelectOptions } from './select/stage.ts';
export { fetchFile, findRemoteFiles, type Row, readTable, type Table, type TableOptions } from './table.ts';
export type {
  BadRecord,
  ByteRange,
  CorpusSpec,
  Document,
  InputFile,
  LeftOut,
  ReadCounts,
  ReadHandlers,
} from './types.ts';
