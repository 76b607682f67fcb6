import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  LONG_CONTEXT_KINDS,
  longContextSample,
  matchAll,
  matchPart,
  readQuestions,
} from '../../src/eval/long-context/index.ts';

/** A token a word or sign, roughly as tokenizers count. */
const countTokens = (text: string) => text.match(/[A-Za-z]{1,5}|\d{1,3}|\n|[^\sA-Za-z\d]/g)?.length ?? 0;

const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'questions-')), 'squad.json');
fs.writeFileSync(
  file,
  JSON.stringify({
    data: Array.from({ length: 90 }, (_, a) => ({
      paragraphs: [
        {
          context: `Town ${a} lies on river ${a * 7}. ${'Its market is old. '.repeat(10)}`,
          qas: [
            { question: `On which river lies town ${a}?`, answers: [{ text: `river ${a * 7}` }], is_impossible: false },
            { question: 'Who?', answers: [], is_impossible: true },
          ],
        },
      ],
    })),
  }),
);
const questions = readQuestions(file);

describe('long-context samples', () => {
  it('fill their length, hold their answers, and are the same for the same seed', () => {
    expect(questions.questions.length).toBe(90);
    for (const kind of LONG_CONTEXT_KINDS)
      for (const lengthTokens of [1500, 4096]) {
        const options = { kind, lengthTokens, seed: 3, countTokens, questions };
        const sample = longContextSample(options);
        expect(sample.numTokens).toBe(countTokens(sample.prompt));
        expect(sample.numTokens + sample.maxAnswerTokens).toBeLessThanOrEqual(lengthTokens);
        // A unit is at most a paragraph or ten repeated words; the rest is filled.
        expect(sample.numTokens + sample.maxAnswerTokens, kind).toBeGreaterThan(lengthTokens * 0.9 - 70);
        expect(matchAll(sample.prompt, sample.answers), kind).toBe(1);
        expect(longContextSample(options)).toEqual(sample);
        expect(longContextSample({ ...options, seed: 4 }).prompt).not.toBe(sample.prompt);
      }
  });

  it('place what is asked for at the depth asked for', () => {
    for (const kind of ['niah_single_1', 'niah_single_2', 'niah_multikey_2', 'niah_multiquery', 'qa', 'vt'] as const)
      for (const depth of [0, 0.5, 1]) {
        const { input, answers } = longContextSample({
          kind,
          depth,
          lengthTokens: 4000,
          seed: 9,
          countTokens,
          questions,
        });
        if (kind === 'vt' && depth === 1) continue;
        // The example that comes before the variables' text holds none of its names.
        const at = kind === 'vt' ? input.lastIndexOf(`VAR ${answers[0]} = `, input.length) : input.indexOf(answers[0]!);
        expect(at / input.length, `${kind} ${depth}`).toBeGreaterThan(depth - 0.2);
        expect(at / input.length, `${kind} ${depth}`).toBeLessThan(depth + 0.25);
      }
  });

  it('score by share and by any', () => {
    expect(matchAll('It is 12 and BLUE', ['12', 'blue', '7', '9'])).toBe(0.5);
    expect(matchPart('It is blue', ['12', 'Blue'])).toBe(1);
  });

  it('say how much room the shortest prompt needs', () => {
    expect(() => longContextSample({ kind: 'niah_single_1', lengthTokens: 100, seed: 1, countTokens })).toThrow(
      /Ask for at least \d+/,
    );
  });
});
