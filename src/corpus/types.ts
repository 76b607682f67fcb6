// What a corpus is made of, as the readers hand it on. A reader yields items in file order; bad records are items too, so that their
// place and their share can be judged by read.ts.

import type { Message } from './conversation.ts';

/** One text of a corpus. */
export interface Document {
  /** Unique inside the corpus: the file, then `:line`, `#row` or `@part` where a file holds several. */
  id: string;
  /** Never empty; LF line ends, no byte order mark, no lone surrogates. */
  text: string;
  /** The file it came from. */
  source: string;
  /** The record is a conversation; `text` is what is said in it. */
  messages?: Message[];
  /** What else the record says that may be of use: url, title, language, path. */
  metadata?: Record<string, unknown>;
}

/** A record that cannot be used, with the place and the reason. */
export interface BadRecord {
  file: string;
  /** 1-based, in line-oriented files. */
  line?: number;
  /** 0-based, in Parquet files. */
  row?: number;
  /** Bytes into the (decompressed) file, where known. */
  offset?: number;
  reason: string;
  /** Set where a container (gzip, zstd, Parquet) is damaged: what follows is lost too, nobody knows how much. */
  losesRest?: true;
}

export interface ReadCounts {
  /** Documents, bad records and empty documents together. */
  numRecords: number;
  numDocuments: number;
  numBadRecords: number;
  numEmptyDocuments: number;
  /** Bytes of the input files read so far (compressed where they are). */
  numBytesRead: number;
}

export interface CorpusSpec {
  /** For messages. */
  name?: string;
  /** Files, folders, globs. Relative ones start at `baseFolder` (the working folder by default). */
  paths: string | readonly string[];
  baseFolder?: string;
  /** Field or column with the text; without it `text`, then `content`. */
  field?: string;
  /** Share of bad records above which reading fails; 0.01 by default. Damaged containers are accepted at 1 only. */
  maxBadShare?: number;
  /** Lines longer than this are bad records; 256 MB by default. */
  maxRecordBytes?: number;
}

export interface ReadHandlers {
  onBadRecord?: (record: BadRecord) => void;
  onEmptyDocument?: (id: string) => void;
  /** After each document, with running counts. */
  onProgress?: (counts: Readonly<ReadCounts>) => void;
}

export type ReaderKind = 'text' | 'jsonl' | 'parquet';
export type Compression = 'none' | 'gzip' | 'zstd';

export interface InputFile {
  /** Absolute. */
  path: string;
  sizeBytes: number;
  modifiedMs: number;
  kind: ReaderKind;
  compression: Compression;
}

/** What a reader yields. */
export type ReaderItem = { document: Document } | { bad: BadRecord };

export interface ReaderOptions {
  field: string | undefined;
  maxRecordBytes: number;
  /** Told the bytes of the file that each read took. */
  onBytes: (numBytes: number) => void;
}
