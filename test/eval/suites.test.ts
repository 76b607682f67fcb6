// The bundled suites: enough items, no copies, answers balanced over places and lengths, instructions that can be followed and checked.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/base/package.ts';
import { checkInstruction, INSTRUCTION_IDS } from '../../src/eval/index.ts';

const SUITES = path.join(packageRoot(), 'data', 'suites');

interface Question {
  passage?: string;
  question: string;
  choices: string[];
  answer: number;
}

function rows<T>(name: string): T[] {
  return ['mini', 'rest'].flatMap((part) =>
    fs
      .readFileSync(path.join(SUITES, name, `${part}.jsonl`), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as T),
  );
}

/** Expected hits of one who takes the longest or shortest choice and ties by chance. */
function guessByLength(items: readonly Question[], sign: 1 | -1): number {
  const hits = items.map(({ choices, answer }) => {
    const lengths = choices.map((choice) => sign * choice.length);
    const most = Math.max(...lengths);
    return lengths[answer] === most ? 1 / lengths.filter((n) => n === most).length : 0;
  });
  return hits.reduce((sum, hit) => sum + hit, 0) / items.length;
}

describe.each([
  ['general-knowledge', 200, 4],
  ['reasoning', 150, 4],
  ['reading', 150, 4],
  ['grammar', 200, 2],
])('%s', (name, least, numChoices) => {
  const items = rows<Question>(name);

  it('has enough questions, each once, with different choices', () => {
    expect(items.length).toBeGreaterThanOrEqual(least);
    // Sentences of grammar may begin alike.
    const asked = items.map(({ passage, question, choices, answer }) =>
      [passage, question, numChoices === 2 && choices[answer]].join(' '),
    );
    expect(new Set(asked).size).toBe(items.length);
    for (const item of items) expect(new Set(item.choices).size, item.question).toBe(numChoices);
  });

  it('does not give the answer away by place or length', () => {
    const chance = 1 / numChoices;
    const stderr = Math.sqrt((chance * (1 - chance)) / items.length);
    for (let place = 0; place < numChoices; place++) {
      const share = items.filter((item) => item.answer === place).length / items.length;
      expect(Math.abs(share - chance)).toBeLessThan(1 / items.length);
    }
    expect(guessByLength(items, 1)).toBeLessThan(chance + stderr);
    expect(guessByLength(items, -1)).toBeLessThan(chance + stderr);
  });
});

describe('completion', () => {
  it('has enough texts, each once, each asking for one word', () => {
    const items = rows<{ context: string; word: string }>('completion');
    expect(items.length).toBeGreaterThanOrEqual(150);
    expect(new Set(items.map((item) => item.context)).size).toBe(items.length);
    expect(items.filter(({ word }) => !/^[A-Za-z]+$/.test(word))).toEqual([]);
  });
});

describe('instructions', () => {
  const items = rows<{ prompt: string; instruction_id_list: string[]; kwargs: Record<string, unknown>[] }>(
    'instructions',
  );

  it('covers the 25 kinds, also in its first 25 prompts', () => {
    expect(items.length).toBeGreaterThanOrEqual(100);
    expect(new Set(items.slice(0, 25).map((item) => item.instruction_id_list[0]))).toEqual(new Set(INSTRUCTION_IDS));
    expect(new Set(items.map((item) => item.prompt)).size).toBe(items.length);
  });

  it('gives every check the arguments that it needs', () => {
    for (const { prompt, instruction_id_list, kwargs } of items)
      instruction_id_list.forEach((id, i) => {
        expect(typeof checkInstruction(id, kwargs[i]!, prompt, 'An answer.')).toBe('boolean');
      });
  });

  it('has no companion that forbids what another one asks for', () => {
    for (const { prompt, kwargs } of items) {
      const given = Object.assign({}, ...kwargs) as {
        forbidden_words?: string[];
        keywords?: string[];
        end_phrase?: string;
      };
      for (const word of given.forbidden_words ?? []) {
        const asked = [...(given.keywords ?? []), given.end_phrase ?? ''].join(' ').toLowerCase().split(/\W+/);
        expect(asked, prompt).not.toContain(word);
      }
    }
  });
});
