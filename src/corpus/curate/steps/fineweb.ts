// FineWeb's own rules (Penedo et al. 2024, arXiv 2406.17557, section 3.5), as datatrove has them (fineweb_quality_filter.py). The paper
// writes 0.1 for characters in repeated lines, the code that FineWeb was made with 0.01; the rule on line ends for words is in the code only.
import type { CleanOptions } from '../../../config/index.ts';
import { KINDS, SPACE, TERMINAL } from '../characters.ts';
import type { Step } from '../types.ts';
import type { TextView } from '../view.ts';
import { countCopies } from './gopher-repetition.ts';
import { above, below } from './limits.ts';

export const FINEWEB = {
  minLinePunctuation: 0.12,
  maxShortLines: 0.67,
  shortLineChars: 30,
  maxDuplicateLineChars: 0.01,
  maxNewlineRatio: 0.3,
};

/** The rule on words is left out for text in scripts without spaces between them. */
export function fineweb(options: CleanOptions<'fineweb'>): Step {
  const limits = { ...FINEWEB, ...options };
  return {
    name: 'fineweb',
    apply(view) {
      const lines = view.lines.filter((line) => line.trim() !== '');
      if (lines.length === 0) return { removed: { reason: 'no text' } };
      let [numEnded, numShort] = [0, 0];
      for (const line of lines) {
        if (endsSentence(line)) numEnded++;
        if (line.length <= limits.shortLineChars) numShort++;
      }
      const numLineEnds = view.lines.length - 1;
      return (
        below('too few lines end in punctuation', numEnded / lines.length, limits.minLinePunctuation) ??
        above('too many short lines', numShort / lines.length, limits.maxShortLines) ??
        above(
          'text in repeated lines',
          countCopies(lines).chars / (view.text.length - numLineEnds),
          limits.maxDuplicateLineChars,
        ) ??
        judgeLineEnds(view, numLineEnds, limits.maxNewlineRatio)
      );
    },
  };
}

/** Most texts have words enough in their first lines, so that not all need be found. */
function judgeLineEnds(view: TextView, numLineEnds: number, limit: number) {
  if (hasWords(view.units, numLineEnds / limit)) return undefined;
  const { isUnspaced, count } = view.wordTable;
  return isUnspaced ? undefined : above('too many lines for its words', numLineEnds / count, limit);
}

function hasWords(units: Uint16Array, enough: number): boolean {
  let n = 0;
  let isInside = false;
  for (let i = 0; i < units.length && n < enough; i++) {
    const isSpace = (KINDS[units[i]!]! & SPACE) !== 0;
    if (!isSpace && !isInside) n++;
    isInside = !isSpace;
  }
  return n >= enough;
}

const TERMINAL_AT_END = /\p{Sentence_Terminal}$/u;

function endsSentence(line: string): boolean {
  const last = line.charCodeAt(line.length - 1);
  if (last >= 0xdc00 && last < 0xe000) return TERMINAL_AT_END.test(line.slice(-2));
  return (KINDS[last]! & TERMINAL) !== 0;
}
