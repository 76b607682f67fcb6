// Which language a document is in, by eld (n-gram statistics, 60 languages). It reads some 350 bytes a call, so it is given three places of
// a document at once, and long documents several times: the beginning of a web page says little about the rest.
import type { CleanOptions } from '../../../config/index.ts';
import { KINDS, LETTER, SPACE, UNSPACED } from '../characters.ts';
import type { Step } from '../types.ts';
import { type DetectLanguage, loadDetector } from './language-detector.ts';
import { below } from './limits.ts';

/**
 * eld gives running text about 0.8 in its own language, menus and code 0.73 to 0.77, two languages mixed 0.68, keyboard noise 0.1 (measured
 * on such texts). The limit is FineWeb's number for another classifier (Penedo et al. 2024) and lies where it should here too.
 */
const DEFAULT_MIN = 0.65;
/** eld takes "Hello world" for Norwegian. Assumption. */
const DEFAULT_MIN_LETTERS = 40;

/** Time goes with the length of a sample; 200 characters are a tweet and a half, on which eld errs in 7 of 1000 by its own benchmark. */
const PIECE_CHARS = 67;
const PIECES = 3;
const SAMPLE_CHARS = PIECE_CHARS * PIECES;
/** One more sample for each of so many characters. */
const CHARS_A_SAMPLE = 16_384;
const MAX_SAMPLES = 8;

export async function language(options: CleanOptions<'language'>): Promise<Step> {
  const detect = await loadDetector();
  const { keep, minLetters = DEFAULT_MIN_LETTERS } = options;
  const min = options.min ?? (keep ? DEFAULT_MIN : 0);
  return {
    name: 'language',
    apply({ text }) {
      const samples = samplesOf(text);
      const numLetters = samples.reduce((sum, sample) => sum + countLetters(sample), 0);
      if (numLetters < minLetters) return { metadata: { language: 'unknown' } };
      const { best, score } = bestOf(detect, samples);
      if (score > 0 && keep && !keep.includes(best)) return { removed: { reason: `another language: ${best}` } };
      const languageScore = Math.round(score * 1e4) / 1e4;
      return (
        below('language not clear', languageScore, min) ?? { metadata: { language: best || 'unknown', languageScore } }
      );
    },
  };
}

function bestOf(detect: DetectLanguage, samples: readonly string[]): { best: string; score: number } {
  if (samples.length === 1) {
    const { language, scores } = detect(samples[0]!);
    return { best: language, score: scores.find(([name]) => name === language)?.[1] ?? 0 };
  }
  const sums = new Map<string, number>();
  for (const sample of samples)
    for (const [name, score] of detect(sample).scores) sums.set(name, (sums.get(name) ?? 0) + score);
  let [best, most] = ['', 0];
  for (const [name, sum] of sums) if (sum > most) [best, most] = [name, sum];
  return { best, score: most / samples.length };
}

function samplesOf(text: string): string[] {
  if (text.length <= SAMPLE_CHARS) return [text];
  const numSamples = Math.min(MAX_SAMPLES, 1 + Math.floor(text.length / CHARS_A_SAMPLE));
  const stride = text.length / (numSamples * PIECES);
  const samples: string[] = [];
  for (let i = 0; i < numSamples; i++) {
    const pieces: string[] = [];
    // The pieces of a sample lie far apart, each in the middle of its stretch.
    for (let j = 0; j < PIECES; j++) pieces.push(pieceAt(text, Math.floor((i + j * numSamples + 0.5) * stride)));
    samples.push(pieces.join(' '));
  }
  return samples;
}

/** Begins at a word where one begins soon. */
function pieceAt(text: string, middle: number): string {
  const from = Math.max(0, Math.floor(middle - PIECE_CHARS / 2));
  let start = from;
  while (start < from + MAX_WORD && start < text.length && !(KINDS[text.charCodeAt(start)]! & SPACE)) start++;
  if (start === from + MAX_WORD) start = from;
  return text.slice(start, start + PIECE_CHARS);
}

const MAX_WORD = 20;

/** A character of such scripts says as much as a few letters. Assumption. */
const LETTERS_A_CHARACTER = 3;

function countLetters(text: string): number {
  let n = 0;
  for (let i = 0; i < text.length; i++) {
    const kind = KINDS[text.charCodeAt(i)]!;
    if (kind & LETTER) n += kind & UNSPACED ? LETTERS_A_CHARACTER : 1;
  }
  return n;
}
