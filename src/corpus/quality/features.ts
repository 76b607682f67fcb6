// A text as numbers of hashed features: words, pairs of words, and n-grams of characters inside words, as in fastText's classifiers (Joulin
// et al. 2017, arXiv 1607.01759), which GPT-3, CCNet and DCLM choose web text with. No dictionary is kept.
import { KINDS, SPACE, UNSPACED, WORDLIKE } from '../curate/characters.ts';
import { unitsOf } from '../curate/words.ts';

export interface FeatureShape {
  /** Features are numbers below 2^bits. */
  bits: number;
  /** Length of the n-grams of characters; 0 for none. */
  charNgram: number;
}

/** Of longer texts four pieces of a quarter of this are read, evenly spread: a page says after so much what it is. */
const MAX_CHARS = 4096;
const NUM_PIECES = 4;

const FNV_OFFSET = 0x811c9dc5 | 0;
const FNV_PRIME = 0x01000193;
const SALT_WORD = 1;
const SALT_CHARS = 2;
const DIGIT_0 = 0x30;
const LINE_END = 0x0a;

/** One number for each occurrence of a feature, in the order of the text. */
export function featuresOf(text: string, { bits, charNgram }: FeatureShape): Int32Array {
  const lower = unitsOf(samplesOf(text).toLowerCase());
  // Each character is at most a token, its pair and the start of an n-gram.
  const found = new Int32Array(3 * lower.length);
  const shift = 32 - bits;
  let [length, before] = [0, 0];
  const addToken = (hash: number) => {
    found[length++] = mix(hash, SALT_WORD) >>> shift;
    found[length++] = mix(hash, before) >>> shift;
    before = hash;
  };
  for (let i = 0; i < lower.length; ) {
    const unit = lower[i]!;
    const kind = KINDS[unit]!;
    if (kind & WORDLIKE && !(kind & UNSPACED)) {
      const start = i;
      let hash = FNV_OFFSET;
      for (; i < lower.length; i++) {
        const next = lower[i]!;
        if (!(KINDS[next]! & WORDLIKE) || KINDS[next]! & UNSPACED) break;
        hash = Math.imul(hash ^ withoutDigits(next), FNV_PRIME);
      }
      addToken(hash);
      if (charNgram === 0) continue;
      for (let j = start; j + charNgram < i; j++) {
        let ngram = FNV_OFFSET;
        for (let k = j; k < j + charNgram; k++) ngram = Math.imul(ngram ^ withoutDigits(lower[k]!), FNV_PRIME);
        found[length++] = mix(ngram, SALT_CHARS) >>> shift;
      }
    } else {
      // Marks and line ends tell lists from prose; characters of scripts without spaces are words.
      if (!(kind & SPACE) || unit === LINE_END) addToken(Math.imul(FNV_OFFSET ^ unit, FNV_PRIME));
      i++;
    }
  }
  return found.slice(0, length);
}

/** Numbers count by how many digits they have. */
function withoutDigits(unit: number): number {
  return unit >= DIGIT_0 && unit < DIGIT_0 + 10 ? DIGIT_0 : unit;
}

function mix(a: number, b: number): number {
  let h = Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b);
  h ^= h >>> 15;
  h = Math.imul(h, 0x2c1b3c6d);
  return h ^ (h >>> 13);
}

function samplesOf(text: string): string {
  if (text.length <= MAX_CHARS) return text;
  const size = MAX_CHARS / NUM_PIECES;
  const stride = (text.length - size) / (NUM_PIECES - 1);
  return Array.from({ length: NUM_PIECES }, (_, i) => {
    const start = Math.round(i * stride);
    return text.slice(start, start + size);
  }).join('\n');
}
