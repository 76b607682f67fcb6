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

/** What a reader passes over on purpose. */
export interface LeftOut {
  file: string;
  /** The same for all of one kind. */
  reason: string;
}

export interface ReadCounts {
  /** Documents, bad records and empty documents together; what is left out is no record. */
  numRecords: number;
  numDocuments: number;
  numBadRecords: number;
  numEmptyDocuments: number;
  /** Binary and generated files, records of archives that hold no text. */
  numLeftOut: number;
  /** Bytes of the input files read so far (compressed where they are). */
  numBytesRead: number;
}

export interface CorpusSpec {
  /** For messages. */
  name?: string;
  /** Files, folders, globs. Relative ones start at `baseFolder` (the working folder by default). */
  paths: string | readonly string[];
  baseFolder?: string;
  /**
   * Field or column with the text: a name, a dotted one (`data.text`), or a template ("{title}\n\n{body}"); without it `text`, then
   * `content`.
   */
  field?: string;
  /** Share of bad records above which reading fails; 0.01 by default. Damaged containers are accepted at 1 only. */
  maxBadShare?: number;
  /** Longer lines, and larger pages, books and other files that are read whole (unpacked), are bad records; 256 MB by default. */
  maxRecordBytes?: number;
}

export interface ReadHandlers {
  onBadRecord?: (record: BadRecord) => void;
  onEmptyDocument?: (id: string) => void;
  onLeftOut?: (item: LeftOut) => void;
  /** After each document, with running counts. */
  onProgress?: (counts: Readonly<ReadCounts>) => void;
}

export type ReaderKind = 'text' | 'code' | 'html' | 'jsonl' | 'csv' | 'parquet' | 'warc' | 'pdf' | 'docx' | 'epub';
export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2';

export interface InputFile {
  /** Absolute, or an address (s3://, hub://, https://) without what may be secret in it. */
  path: string;
  /** 0 where a server does not say it. */
  sizeBytes: number;
  modifiedMs: number;
  /** Of a remote file: what changes with its content, as its server says. */
  identity?: string;
  /** Of a remote file whose address has more than its path. */
  address?: string;
  kind: ReaderKind;
  compression: Compression;
  /** Only the lines that begin in these bytes are read: uncompressed JSON lines alone. Their ids are then `file@offset`. */
  range?: ByteRange;
}

/** Bytes `start` to `end` - 1. */
export interface ByteRange {
  start: number;
  end: number;
}

/** What a reader yields. */
export type ReaderItem = { document: Document } | { bad: BadRecord } | { leftOut: LeftOut };

export interface ReaderOptions {
  field: string | undefined;
  maxRecordBytes: number;
  /** Told the bytes of the file that each read took. */
  onBytes: (numBytes: number) => void;
}
