// The language of a response, by eld (60 languages) instead of IFEval's langdetect, which draws random numbers. eld knows neither Nepali nor
// Swahili: their most frequent small words tell them from the languages that eld takes them for.
import { eld } from 'eld/extrasmall';

const SMALL_WORDS: Readonly<Record<string, ReadonlySet<string>>> = {
  ne: new Set('छ छन् हो र म मा को का की लाई ले पनि यो त्यो गर्न भएको थियो हुन्छ तर हामी'.split(' ')),
  sw: new Set('ya na wa kwa ni katika la za cha kuwa hii hiyo yake kama lakini sana pia au huo watu'.split(' ')),
};
/** A fifth of running text at least are words of these lists; Hindi, Marathi and Tagalog have hardly any of them. Assumption. */
const MIN_SHARE = 0.12;

/** ISO 639-1; undefined where the text has nothing to tell it by (digits, signs). */
export function detectLanguage(text: string): string | undefined {
  const words = text.toLowerCase().match(/[\p{L}\p{M}]+/gu);
  if (!words) return undefined;
  for (const [language, list] of Object.entries(SMALL_WORDS)) {
    const hits = words.filter((word) => list.has(word)).length;
    const needed = Math.max(2, MIN_SHARE * words.length);
    if (hits >= needed && !(language === 'sw' && /[^\x00-\x7f]/.test(words.join('')))) return language;
  }
  return eld.detect(text).language || undefined;
}
