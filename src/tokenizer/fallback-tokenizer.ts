// The fallback engine: @huggingface/tokenizers (pure JavaScript, about 1 MB/s) for pipelines that our own engine refuses. It always
// finds special tokens in the text, so a second instance without them encodes plain text.
import { Tokenizer as LibraryTokenizer } from '@huggingface/tokenizers';
import type { AddedToken } from './format.ts';
import type { Codec } from './own-tokenizer.ts';
import type { TokenizerJson } from './types.ts';
import { toWellFormed } from './unicode.ts';

export class FallbackTokenizer implements Codec {
  readonly vocabSize: number;
  readonly isNative = false;
  private readonly full: LibraryTokenizer;
  private readonly plain: LibraryTokenizer;

  /** @param config what tokenizer_config.json holds; the library reads a few switches from it */
  constructor(json: TokenizerJson, config: Record<string, unknown>) {
    const added = (json.added_tokens ?? []) as AddedToken[];
    const settings = { ...config, clean_up_tokenization_spaces: false };
    this.full = new LibraryTokenizer(json, settings);
    this.plain = new LibraryTokenizer({ ...json, added_tokens: added.filter((token) => !token.special) }, settings);
    this.vocabSize = countIds(json, added);
  }

  encode(text: string, parseSpecial: boolean): Int32Array {
    const engine = parseSpecial ? this.full : this.plain;
    return Int32Array.from(engine.encode(toWellFormed(text), { add_special_tokens: false }).ids);
  }

  decode(ids: ArrayLike<number>, skipSpecial: boolean): string {
    const known = Array.from(ids).filter((id) => this.idToToken(id) !== undefined);
    // The library refuses an empty list.
    return known.length === 0 ? '' : this.full.decode(known, { skip_special_tokens: skipSpecial });
  }

  idToToken(id: number): string | undefined {
    return this.full.id_to_token(id);
  }

  tokenToId(token: string): number | undefined {
    return this.full.token_to_id(token);
  }
}

/** Highest id + 1. A Unigram vocabulary is a list of [token, score], the others map token to id. */
function countIds(json: TokenizerJson, added: AddedToken[]): number {
  const vocab = (json.model as { vocab?: Record<string, number> | unknown[] } | undefined)?.vocab ?? {};
  const ids = Array.isArray(vocab) ? [vocab.length - 1] : Object.values(vocab);
  return (
    added.reduce(
      (highest, token) => Math.max(highest, token.id),
      ids.reduce((a, b) => Math.max(a, b), -1),
    ) + 1
  );
}
