// Documents by their length, whatever is in them.
import type { CleanOptions } from '../../../config/index.ts';
import type { Step } from '../types.ts';
import { above, below } from './limits.ts';

/** Characters are UTF-16 units, words what stands between white space. */
export function length(options: CleanOptions<'length'>): Step {
  const { minChars = 0, maxChars = Infinity, minWords = 0, maxWords = Infinity } = options;
  const hasWords = options.minWords !== undefined || options.maxWords !== undefined;
  return {
    name: 'length',
    apply(view) {
      const chars = view.text.length;
      const removed = below('too few characters', chars, minChars) ?? above('too many characters', chars, maxChars);
      if (removed || !hasWords) return removed;
      const words = view.wordTable.count;
      return below('too few words', words, minWords) ?? above('too many words', words, maxWords);
    },
  };
}
