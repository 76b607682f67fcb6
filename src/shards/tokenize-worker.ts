// A worker thread that turns batches of texts into token ids and content hashes. It keeps no state between batches, so the output does
// not depend on which worker took which batch.
import { workerData } from 'node:worker_threads';
import { isUserError } from '../base/errors.ts';
import { hashFraction } from '../base/hash.ts';
import { serveBatches } from '../base/worker-pool.ts';
import { countLanguages, countWords, type Language } from '../corpus/index.ts';
import { type ChatMessage, encodeConversation, loadTokenizer } from '../tokenizer/index.ts';

export interface TokenizeRequest {
  texts: string[];
  /** By index, texts that are conversations: these messages are encoded instead. */
  conversations: ReadonlyMap<number, readonly ChatMessage[]>;
}

export interface TokenizedBatch {
  /** Ids of all texts in a row. */
  ids: Int32Array;
  /** Tokens a text. */
  lengths: Float64Array;
  /** UTF-8 bytes a text. */
  numBytes: Float64Array;
  /** Words a text. */
  numWords: Float64Array;
  /** Bytes by language. */
  languages: Map<Language, number>;
  /** First 53 bits of each text's SHA-256, as a number in [0, 1). */
  hashes: Float64Array;
  /** For each id, 1 where it bears loss when only answers do; absent where no text of the batch is a conversation. */
  answers?: Uint8Array;
  /** By index, conversations that the model's template refuses, and why; they have no tokens. */
  refused: ReadonlyMap<number, string>;
}

const { modelFolder } = workerData as { modelFolder: string };
const tokenizer = loadTokenizer(modelFolder);

serveBatches(({ texts, conversations }: TokenizeRequest) => {
  const refused = new Map<number, string>();
  const said: Uint8Array[] = [];
  const encoded = texts.map((text, i): ArrayLike<number> => {
    const messages = conversations.get(i);
    if (!messages) return tokenizer.encodeArray(text);
    try {
      const { ids, answers } = encodeConversation(tokenizer, messages);
      said[i] = answers;
      return ids;
    } catch (error) {
      if (!isUserError(error)) throw error;
      refused.set(i, error.message);
      return [];
    }
  });
  const ids = new Int32Array(encoded.reduce((sum, list) => sum + list.length, 0));
  let at = 0;
  for (const list of encoded) {
    ids.set(list, at);
    at += list.length;
  }
  const numBytes = Float64Array.from(texts, (text) => Buffer.byteLength(text));
  const result: TokenizedBatch = {
    ids,
    lengths: Float64Array.from(encoded, (list) => list.length),
    numBytes,
    numWords: Float64Array.from(texts, countWords),
    languages: countLanguages(texts, numBytes),
    hashes: Float64Array.from(texts, hashFraction),
    refused,
    ...(conversations.size > 0 ? { answers: answersOf(encoded, said) } : {}),
  };
  return { result, transfer: [ids.buffer as ArrayBuffer] };
});

/** Plain text is an answer as a whole. */
function answersOf(encoded: readonly ArrayLike<number>[], said: readonly (Uint8Array | undefined)[]): Uint8Array {
  const answers = new Uint8Array(encoded.reduce((sum, list) => sum + list.length, 0));
  let at = 0;
  encoded.forEach((ids, i) => {
    const own = said[i];
    if (own) answers.set(own, at);
    else answers.fill(1, at, at + ids.length);
    at += ids.length;
  });
  return answers;
}
