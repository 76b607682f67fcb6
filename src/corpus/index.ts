// The corpus layer's door: files -> documents.
export { expandBraces, globFiles } from './glob.ts';
export { countLanguages, countWords, guessLanguage, type Language } from './language.ts';
export { MAX_QUERIES, type MinedDocument, type MineOptions, type MineSummary, mineDocuments } from './mine.ts';
export { type FoundFiles, findInputFiles, readerOf, SUPPORTED_ENDINGS } from './paths.ts';
export { DEFAULT_MAX_BAD_SHARE, describeBadRecord, readCorpus, readFiles } from './read.ts';
export type { BadRecord, CorpusSpec, Document, InputFile, ReadCounts, ReadHandlers } from './types.ts';
