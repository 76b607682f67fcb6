// Tensors that are not trained, chosen by patterns of their names in the checkpoint. A matrix that is frozen whole has neither gradient nor
// moments nor f32 master; of stacked matrices (q, k, v; gate, up) of which a part is frozen, that part has gradients that are set to zero and
// that no update passes over.
import { ConfigError, nearestName } from '../base/errors.ts';
import type { Decoder } from './decoder.ts';
import { partsOf } from './tensor.ts';

/**
 * Freezes what the patterns name, in order, the last that fits deciding: `*` any characters, `{0..15}` a number of that range, `{a,b}` one
 * of the words, a leading `!` takes back. A pattern fits a tensor's name, or a module's with all that it holds.
 * @throws ConfigError for a pattern that fits no tensor, and where nothing would be trained
 */
export function freezeTensors(decoder: Decoder, patterns: readonly string[]): void {
  const isFrozen = frozenBy(
    patterns,
    decoder.list().flatMap(({ parts }) => parts.map(({ name }) => name)),
  );
  for (const parameter of decoder.list()) {
    const parts = partsOf(parameter);
    const trained = parts.filter(({ part }) => !isFrozen(part.name));
    if (trained.length === 0) {
      parameter.isFrozen = true;
      parameter.low = null;
    } else if (trained.length < parts.length) parameter.trainedSpans = trained.map(({ from, to }) => ({ from, to }));
  }
}

/** Which of a model's tensors the patterns freeze. @throws as freezeTensors does */
export function frozenBy(patterns: readonly string[], names: readonly string[]): (name: string) => boolean {
  const rules = patterns.map((pattern, i) => ruleOf(pattern, i, names));
  const isFrozen = (name: string) => rules.findLast(({ fits }) => fits.test(name))?.freezes ?? false;
  if (names.every(isFrozen))
    throw new ConfigError(
      'training.freeze: all of the model\'s tensors are frozen, so nothing would be trained. Take a pattern out, or add one such as "!model.layers.{0..3}" behind the others.',
    );
  return isFrozen;
}

function ruleOf(pattern: string, i: number, names: readonly string[]): { freezes: boolean; fits: RegExp } {
  const freezes = !pattern.startsWith('!');
  const bare = freezes ? pattern : pattern.slice(1);
  const fits = new RegExp(`^${toRegExp(bare)}(\\..*)?$`);
  if (names.some((name) => fits.test(name))) return { freezes, fits };
  const near = nearestName(bare, names);
  throw new ConfigError(
    `training.freeze[${i}]: no tensor of this model fits "${pattern}"${near ? ` (did you mean ${near}?)` : ''}; its names are such as ${[names[0], names[Math.floor(names.length / 2)], names.at(-1)].join(', ')}.`,
  );
}

/** Ranges of more than this many numbers are no layers. */
const LONGEST_RANGE = 10_000;

function toRegExp(pattern: string): string {
  return pattern.replace(/\{(\d+)\.\.(\d+)\}|\{([^{}]*)\}|\*|[^*{}]+|[{}]/g, (text, first, last, words) => {
    if (text === '*') return '.*';
    if (words !== undefined) return `(?:${words.split(',').map(escapeText).join('|')})`;
    if (first === undefined) return escapeText(text);
    const [from, to] = [Number(first), Math.min(Number(last), Number(first) + LONGEST_RANGE)];
    const numbers = Array.from({ length: Math.max(0, to - from + 1) }, (_, n) => String(from + n));
    return numbers.length > 0 ? `(?:${numbers.join('|')})` : '(?!)';
  });
}

function escapeText(text: string): string {
  return text.replace(/[.+?^$()|[\]\\{}*]/g, '\\$&');
}
