// Where the loss lies, token by token.
export { alignTokens, type Piece } from './align.ts';
export { kindOf, type LossGroup, type LossTable, lossTables, type ScoredDocument, type TokenCounts } from './groups.ts';
export { type Alternative, type ScoredToken, type ScoreOptions, scoreTokens } from './score.ts';
