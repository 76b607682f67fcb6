// A pipeline -> the spec of the native encoder, where it can be said in its terms. Whatever cannot runs on the reference in this folder,
// which gives the same ids, or is prepared here and handed on.
import type { TextEncoderSpec, TextMarking, TextSplit, Words } from '../kernels/index.ts';
import { type Component, flatten } from './format.ts';
import { ClassBits, compileProgram, keepRuns, NotNative } from './native-pattern.ts';
import type { SplitStep } from './pre-tokenizer.ts';

const UNMARKED: TextMarking = { afterSplits: 0, spaceAs: '', prefix: '', prefixRule: 'never' };

/** The native form of marks and prefixes of a normalizer: "Prepend", then "Replace" of spaces, as SentencePiece-style models have them. */
export function normalizerMarking(component: Component | null): TextMarking | undefined {
  const marking = { ...UNMARKED };
  for (const step of flatten(component, 'normalizers')) {
    const isFirst = marking.spaceAs === '' && marking.prefix === '';
    const pattern = step.pattern as { String?: string } | undefined;
    if (step.type === 'Prepend' && isFirst && !String(step.prepend).includes(' ') && step.prepend !== '') {
      marking.prefix = String(step.prepend);
      marking.prefixRule = 'always';
    } else if (step.type === 'Replace' && pattern?.String === ' ' && marking.spaceAs === '' && step.content !== '')
      marking.spaceAs = String(step.content);
    else return undefined;
  }
  return marking;
}

/** Splits and marks in native form; throws NotNative. @param marking of the normalizer, where the native encoder is to do it */
export function nativeSplits(
  steps: readonly SplitStep[],
  marking = UNMARKED,
): Pick<TextEncoderSpec, 'classes' | 'splits' | 'marking'> {
  const bits = new ClassBits();
  const splits: TextSplit[] = [];
  let marks = marking;
  for (const step of steps) {
    if (step.type === 'split') {
      splits.push({ ...compileProgram(step.pattern, bits), behavior: step.behavior, invert: step.invert });
      continue;
    }
    const own = stepMarking(step);
    if (marks.spaceAs !== '' || marks.prefixRule !== 'never') throw new NotNative('marks set twice');
    marks = { ...own, afterSplits: splits.length };
  }
  const classes = bits.tables();
  return { classes, marking: marks, splits: splits.map((s) => ({ ...s, code: keepRuns(s.code, classes) })) };
}

function stepMarking(step: Exclude<SplitStep, { type: 'split' }>): Omit<TextMarking, 'afterSplits'> {
  switch (step.type) {
    case 'prefix':
      return { spaceAs: '', prefix: ' ', prefixRule: 'unless there' };
    case 'metaspace': {
      const rules = { always: 'unless there', first: 'at start unless there', never: 'never' } as const;
      return { spaceAs: step.mark, prefix: step.mark, prefixRule: rules[step.scheme] };
    }
    case 'spell bytes':
      throw new NotNative('bytes spelled between steps');
    default:
      return step satisfies never;
  }
}

/** Words in a row, for the native encoder. */
export function packWords(words: Iterable<readonly [bytes: Uint8Array, id: number]>): Words {
  const all = [...words];
  const bytes = new Uint8Array(all.reduce((sum, [word]) => sum + word.length, 0));
  const ends = new Int32Array(all.length);
  let end = 0;
  all.forEach(([word], i) => {
    bytes.set(word, end);
    end += word.length;
    ends[i] = end;
  });
  return { bytes, ends, ids: Int32Array.from(all, ([, id]) => id) };
}
