// The normalisers of tokenizer.json as functions of text. What is not here runs on the fallback engine.
// NFD, NFKC and NFKD follow the Unicode of the running Node; Hugging Face's tables are older, which differs on 192 code points that
// Unicode 12 to 17 added. NFC agrees on every single code point.
import { type Component, flatten, patternSource, UnsupportedPipeline } from './format.ts';
import { compilePattern } from './pattern.ts';
import { precompiledNormalizer } from './precompiled.ts';

export type Normalizer = (text: string) => string;

/** @returns undefined where there is nothing to do; throws UnsupportedPipeline or UnsupportedPattern */
export function compileNormalizer(component: Component | null): Normalizer | undefined {
  const steps = flatten(component, 'normalizers').map(compileStep);
  if (steps.length === 0) return undefined;
  if (steps.length === 1) return steps[0];
  return (text) => steps.reduce((current, step) => step(current), text);
}

function compileStep(step: Component): Normalizer {
  switch (step.type) {
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD': {
      const form = step.type;
      return (text) => text.normalize(form);
    }
    case 'Prepend': {
      const prefix = String(step.prepend);
      return (text) => (text === '' ? text : prefix + text);
    }
    case 'Replace': {
      const content = String(step.content);
      const pattern = compilePattern(patternSource(step.pattern), 'g');
      return (text) => text.replace(pattern, () => content);
    }
    case 'Lowercase':
      // One character at a time: Hugging Face does not use the final sigma.
      return (text) => Array.from(text, (char) => char.toLowerCase()).join('');
    case 'Strip': {
      const [left, right] = [step.strip_left !== false, step.strip_right !== false];
      return (text) => {
        const start = left ? text.replace(/^\p{White_Space}+/u, '') : text;
        return right ? start.replace(/\p{White_Space}+$/u, '') : start;
      };
    }
    case 'Precompiled':
      return precompiledNormalizer(step.precompiled_charsmap);
    default:
      throw new UnsupportedPipeline(`the normalizer ${step.type}`);
  }
}
