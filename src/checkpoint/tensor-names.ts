// What tensors are by their names, over the families that Hugging Face folders come from.

const EMBEDDING =
  /(^|\.)(embed_tokens|embed_in|wte|word_embeddings|tok_embeddings|backbone\.embeddings|rwkv\.embeddings)\.weight$/;
const POSITIONS = /(^|\.)(wpe|embed_positions)\.weight$/;
const HEAD = /^(lm_head|embed_out|output_projection|head)\.weight$/;
const HEAD_BIAS = /^(lm_head|embed_out|output_projection|head)\.bias$/;
const BUFFER = /(rotary_emb\.inv_freq|attention\.(masked_)?bias|attn\.(masked_)?bias)$/;

/** The table of token embeddings. */
export const isEmbedding = (name: string) => EMBEDDING.test(name);
/** A table of learned positions. */
export const isPositions = (name: string) => POSITIONS.test(name);
/** The output projection, where it is stored. */
export const isHead = (name: string) => HEAD.test(name);
/** Its bias, which few families have. */
export const isHeadBias = (name: string) => HEAD_BIAS.test(name);
/** In old checkpoints, but no weight: a table that the model's code computes. */
export const isBuffer = (name: string) => BUFFER.test(name);
