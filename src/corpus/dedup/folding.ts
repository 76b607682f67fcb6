// What of a text counts when near copies are looked for: datatrove's normalisation (datatrove/utils/text.py, simplify_text, as FineWeb used
// it; Penedo et al. 2024, arXiv 2406.17557), as a table by UTF-16 code unit. Lower case; marks and punctuation are taken out,
// inside words too; a run of digits is one 0; white space separates. Where scripts put no spaces between words each character is one, as
// is every character beyond the basic plane.
import { FOLD_BEGINS, FOLD_DIGIT, FOLD_ENDS, FOLD_LETTER, FOLD_NOTHING } from '../../kernels/index.ts';

const ALONE =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}]/u;

function foldUnit(unit: number): number {
  if (unit >= 0xd800 && unit <= 0xdbff) return FOLD_LETTER | FOLD_BEGINS | unit;
  if (unit >= 0xdc00 && unit <= 0xdfff) return FOLD_LETTER | FOLD_ENDS | unit;
  const char = String.fromCharCode(unit);
  if (/\s/u.test(char)) return 0;
  if (/\p{Nd}/u.test(char)) return FOLD_LETTER | FOLD_DIGIT | 0x30;
  if (!/[\p{L}\p{N}\p{Mc}]/u.test(char)) return FOLD_NOTHING;
  const base = char.toLowerCase().normalize('NFD');
  // Hangul syllables come apart into letters, not into a letter and marks: they stay.
  const isMarked = base.length > 1 && /^.\p{Mn}+$/u.test(base);
  const folded = base.length === 1 || isMarked ? base.charCodeAt(0) : unit;
  return FOLD_LETTER | (ALONE.test(char) ? FOLD_BEGINS | FOLD_ENDS : 0) | folded;
}

let table: Uint32Array | undefined;

/** Made at the first call: 30 ms. */
export function foldingTable(): Uint32Array {
  table ??= Uint32Array.from({ length: 1 << 16 }, (_, unit) => foldUnit(unit));
  return table;
}
