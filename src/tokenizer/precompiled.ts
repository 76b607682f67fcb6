// SentencePiece's compiled normalisation map (T5, XLM-R and other Unigram models): a double-array trie (Aoe 1989, as darts-clone lays it
// out) from a character, or a few, to its replacement. Hugging Face tokenizers looks it up by grapheme where one has fewer than six
// bytes, and takes the shortest entry that begins it; this does the same, whatever one may think of it.
import { UnsupportedPipeline } from './format.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Printable ASCII followed by printable ASCII is a grapheme by itself, so only stretches with others need to be looked at. */
const OTHER_STRETCH = '[\\x20-\\x7e]?(?:[^\\x20-\\x7e]+[\\x20-\\x7e]?)+';
/**
 * What can be in a grapheme of several characters (Unicode Standard Annex 29), or begin one, and more. Without any of it, a character is
 * a grapheme: Intl.Segmenter takes a microsecond for each.
 */
const JOINING = new RegExp(
  '[\\r\\p{M}\\p{Cf}\\p{Grapheme_Extend}\\p{Regional_Indicator}\\p{Emoji_Modifier}\\u1100-\\u11ff\\ua960-\\ua97f\\ud7b0-\\ud7ff' +
    '\\u0e33\\u0eb3\\u0d4e\\u{111c2}\\u{111c3}\\u{113d1}\\u{1193f}\\u{11941}\\u{11a3a}\\u{11a84}-\\u{11a89}\\u{11d46}\\u{11f02}]',
  'u',
);
const MAX_GRAPHEME_BYTES = 5;

/** @param map base64, as tokenizer.json holds it; throws UnsupportedPipeline where it is damaged */
export function precompiledNormalizer(map: unknown): (text: string) => string {
  const { units, replacements } = readMap(map);
  const segmenter = new Intl.Segmenter('und', { granularity: 'grapheme' });

  const lookUp = (text: string): string | undefined => {
    let at = offsetOf(units[0]!);
    for (const byte of encoder.encode(text)) {
      if (byte === 0) return undefined;
      at ^= byte;
      const unit = units[at];
      // The label of a leaf has the highest bit set, which no byte has.
      if (unit === undefined || (unit & 0x800000ff) !== byte) return undefined;
      at ^= offsetOf(unit);
      if ((unit >>> 8) & 1) {
        const start = units[at]! & 0x7fffffff;
        const end = replacements.indexOf(0, start);
        return decoder.decode(replacements.subarray(start, end < 0 ? undefined : end));
      }
    }
    return undefined;
  };
  const known = new Map<string, string>();
  const replace = (grapheme: string): string => {
    let found = known.get(grapheme);
    if (found === undefined) {
      const whole = Buffer.byteLength(grapheme) <= MAX_GRAPHEME_BYTES ? lookUp(grapheme) : undefined;
      found = whole ?? Array.from(grapheme, (char) => lookUp(char) ?? char).join('');
      if (known.size < 100_000 && grapheme.length < 13) known.set(grapheme, found);
    }
    return found;
  };
  const isChanged = (char: string) => replace(char) !== char;
  const changed = Array.from({ length: 95 }, (_, i) => String.fromCharCode(0x20 + i)).filter(isChanged);
  const ascii =
    changed.length === 0 ? '' : `|[${changed.map((char) => `\\u{${char.charCodeAt(0).toString(16)}}`).join('')}]`;
  const looked = new RegExp(OTHER_STRETCH + ascii, 'gu');
  return (text) =>
    text.replace(looked, (stretch) => {
      let out = '';
      if (JOINING.test(stretch)) for (const { segment } of segmenter.segment(stretch)) out += replace(segment);
      else for (const char of stretch) out += replace(char);
      return out;
    });
}

function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

function readMap(map: unknown): { units: Uint32Array; replacements: Buffer } {
  const bytes = Buffer.from(typeof map === 'string' ? map : '', 'base64');
  const size = bytes.length >= 4 ? bytes.readUInt32LE(0) : 0;
  if (size === 0 || size % 4 !== 0 || size + 4 > bytes.length)
    throw new UnsupportedPipeline('a damaged Precompiled map');
  const units = Uint32Array.from({ length: size / 4 }, (_, i) => bytes.readUInt32LE(4 + 4 * i));
  return { units, replacements: bytes.subarray(4 + size) };
}
