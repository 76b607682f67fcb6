// The one check that tokenizer and weights belong together.
import { DataError } from '../base/errors.ts';
import type { Tokenizer } from '../tokenizer/index.ts';
import { isEmbedding } from './tensor-names.ts';
import type { ModelSource } from './types.ts';

/** Gives the tokenizer back, or refuses one with ids that the embedding has no row for. A smaller one is normal: tables are padded. */
export function checkVocabulary(
  tokenizer: Tokenizer,
  source: Pick<ModelSource, 'path' | 'config' | 'tensors'>,
): Tokenizer {
  const rows = [...source.tensors.values()].find(({ name }) => isEmbedding(name))?.shape[0] ?? source.config.vocab_size;
  if (tokenizer.vocabSize > rows)
    throw new DataError(
      source.path,
      `its tokenizer has ${tokenizer.vocabSize} tokens, the embedding only ${rows} rows: ids from ${rows} up would have no vector. ` +
        'Tokenizer and weights do not belong together, or tokens were added without resizing the embedding (transformers: resize_token_embeddings).',
    );
  return tokenizer;
}
