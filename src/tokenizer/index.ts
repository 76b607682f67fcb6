// The door of the tokenizer layer: text <-> ids, chat templates. Knows no corpus and no model.
export { type ChatOptions, type EncodedConversation, encodeConversation, renderChat } from './chat.ts';
export { tokenizerFromGguf } from './gguf.ts';
export { loadTokenizer, tokenizerFromJson } from './load.ts';
export { TextStream } from './stream.ts';
export { TokenTexts } from './token-texts.ts';
export { type TrainedTokenizer, type TrainOptions, trainBpe } from './train.ts';
export type { ChatMessage, Tokenizer, TokenizerJson } from './types.ts';
export {
  type Fragmentation,
  FragmentationMeter,
  type GrownVocabulary,
  growVocabulary,
  type NewToken,
  PieceCounter,
} from './vocabulary.ts';
