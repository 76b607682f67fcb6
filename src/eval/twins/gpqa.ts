// GPQA (Rein et al. 2023): four answers in an order drawn by lot.

import { PythonRandom } from '../python/random.ts';
import { strip } from '../python/text.ts';
import type { Doc, Twins } from './types.ts';

const text = (answer: string | null, withoutBrackets: boolean): string => {
  if (answer === null) return ' ';
  const titled = strip(answer).replaceAll(' [title]', '. ');
  return (withoutBrackets ? titled.replace(/\[[^\n]*?\]/g, '') : titled).replaceAll('  ', ' ');
};

/**
 * lm-evaluation-harness draws from Python's shared generator (seeded 0), or from one of its own (42) where examples are shown, and goes on drawing
 * when it reads the documents again; so its orders depend on what else was loaded. Here every reading starts from the seed.
 */
function gpqa({
  seed,
  list = false,
  withoutBrackets = false,
}: {
  seed: number;
  list?: boolean;
  withoutBrackets?: boolean;
}): Twins {
  return {
    'utils.process_docs': (docs: readonly Doc[]) => {
      const rng = new PythonRandom(seed);
      return docs.map((doc) => {
        const right = text(doc['Correct Answer'], withoutBrackets);
        const wrong = [1, 2, 3].map((i) => text(doc[`Incorrect Answer ${i}`], withoutBrackets));
        const choices = rng.shuffle([...wrong, right]);
        return {
          ...doc,
          ...Object.fromEntries(choices.map((choice, i) => [`choice${i + 1}`, choice])),
          ...(list && { choices }),
          answer: `(${'ABCD'[choices.indexOf(right)]})`,
        };
      });
    },
  };
}

export const gpqaZeroShot = gpqa({ seed: 0 });
export const gpqaFewShot = gpqa({ seed: 42 });
export const gpqaGenerative = gpqa({ seed: 0, list: true });
export const gpqaLeaderboard = gpqa({ seed: 0, withoutBrackets: true });
