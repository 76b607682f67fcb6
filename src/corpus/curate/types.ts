// The words of curation: what a step makes of a document, and what is written about it.
import type { Amount } from './amount.ts';
import type { TextView } from './view.ts';

/** Why a document is left out. */
export interface Removal {
  /** Short and the same for all documents of one kind, such as "too few words": removals are counted by it. */
  reason: string;
  /** What was measured, and the limit that it crossed. */
  value?: number;
  limit?: number;
  /** What was found, to be shown: the evaluation item and the words that are its. */
  evidence?: string;
  /** Of a copy: the document that stays. */
  copyOf?: string;
}

/** A document that goes on, with what was done to it. */
export interface Edit {
  /** The text from here on; absent where it stays. Empty text is removed as "empty". */
  text?: string;
  /** What was changed, counted: { "mail addresses": 2 }. */
  changes?: Readonly<Record<string, number>>;
  /** Added to the document's metadata. */
  metadata?: Readonly<Record<string, unknown>>;
}

/** One step of cleaning. It sees one document at a time and keeps nothing between them, so any worker may do any document. */
export interface Step {
  /** As in continuo.yaml and in removed/. */
  readonly name: string;
  /** undefined: the document goes on as it is. */
  apply(view: TextView): Edit | { removed: Removal } | undefined;
  /** After a part's last document. */
  finish?(): void;
}

/** What is kept of a removed document, one JSON line each in removed/. */
export interface RemovedDocument {
  id: string;
  source: string;
  step: string;
  reason: string;
  value?: number;
  limit?: number;
  evidence?: string;
  /** Of a copy: the document that stays. */
  copyOf?: string;
  /** The beginning of the text, at most 1000 characters. */
  text: string;
}

export interface StepCounts {
  name: string;
  removed: Amount;
  /** Removals by reason. */
  reasons: Record<string, Amount>;
  /** Documents whose text it changed, and the bytes that went with it. */
  changed: Amount;
  changes: Record<string, number>;
}
