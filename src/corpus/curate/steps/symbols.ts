// The share of special characters, after BigScience's ROOTS (Laurençon et al. 2022, arXiv 2303.03915; its data preparation, filtering
// parameters: 0.4 unless a language says otherwise): digits, punctuation, white space and symbols, of which prose has about a fifth.
import type { CleanOptions } from '../../../config/index.ts';
import { KINDS, LETTER, MARK } from '../characters.ts';
import type { Step } from '../types.ts';
import { above } from './limits.ts';

export const SYMBOLS = { maxSpecialChars: 0.4 };

export function symbols(options: CleanOptions<'symbols'>): Step {
  const { maxSpecialChars } = { ...SYMBOLS, ...options };
  return {
    name: 'symbols',
    apply({ units }) {
      let [numSpecial, numChars] = [0, 0];
      for (const unit of units) {
        if (unit >= 0xdc00 && unit < 0xe000) continue;
        numChars++;
        // Pairs of surrogates: nearly all in text are emoji.
        if (!(KINDS[unit]! & (LETTER | MARK))) numSpecial++;
      }
      return above('too many special characters', numSpecial / numChars, maxSpecialChars);
    },
  };
}
