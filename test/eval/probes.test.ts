// Knowledge probes: what is taken for a fact and what is not, choices that do not give the answer away, the folder, and SliCK's categories.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  askByModel,
  compareSlick,
  KNOWLEDGE,
  type LanguageModel,
  PROBE_TASKS,
  ProbeMaker,
  readProbes,
  type SlickResult,
  slick,
  type TextRequest,
  writeProbes,
} from '../../src/eval/index.ts';
import { categoryOf, findFacts, givesAway } from '../../src/eval/probes/index.ts';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-probes-'));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const answersOf = (text: string) => findFacts({ id: 'd', source: 's', text }).map(({ kind, answer }) => [kind, answer]);

/** A model that gives what a function gives. */
function fakeModel(answer: (request: TextRequest) => string, name = 'fake'): LanguageModel {
  return {
    name,
    maxTokens: 1000,
    fingerprint: name,
    likelihoods: () => Promise.reject(new Error('not asked for')),
    rollingLikelihoods: () => Promise.reject(new Error('not asked for')),
    generate: (requests) => Promise.resolve(requests.map(answer)),
    renderChat: () => {
      throw new Error('no template');
    },
    close: () => {},
  };
}

describe('facts', () => {
  it('are definitions, numbers with units, dates, names and names of code', () => {
    expect(answersOf('The vacuum daemon is a background process that removes dead rows.')).toEqual([
      ['definition', 'a background process'],
    ]);
    expect(answersOf('A database name of the server is limited to 63 bytes.')).toEqual([['number', '63 bytes']]);
    expect(answersOf('The harbor of the town was finished in 1874 by the railway company.')).toEqual([
      ['date', '1874'],
    ]);
    expect(answersOf('The lighthouse on the northern cape was designed by Clara Winter.')).toEqual([
      ['name', 'Clara Winter'],
    ]);
    expect(answersOf('Memory for sorting within one query is limited by work_mem.')).toEqual([['code', 'work_mem']]);
  });

  it('are not sentences that lean on others, headings, tables, or references', () => {
    for (const text of [
      'It is limited to 63 bytes by the server of the database.',
      'The length of these names is limited to 63 bytes.',
      'Limits of names 63 bytes',
      'More about the limits of names is found in Chapter 12.',
      '| name | 63 | bytes | 12 | 17 | 99 | 63 | 12.',
    ])
      expect([text, answersOf(text)]).toEqual([text, []]);
  });

  it('know their place, and the words of the document before it', () => {
    const text =
      'Names\n\nNames have limits.\nA database name of the server is limited to 63 bytes, as everyone knows.';
    const [fact] = findFacts({ id: 'd', source: 's', text });
    expect(text.slice(fact!.start, fact!.end)).toBe('63 bytes');
    expect(fact).toMatchObject({
      prompt: 'A database name of the server is limited to',
      rest: ', as everyone knows.',
      context: 'Names\n\nNames have limits.\nA database name of the server is limited to',
    });
    const repeated = `The limit of 63 bytes is old. ${text.slice(7)}`;
    expect(findFacts({ id: 'd', source: 's', text: repeated }).at(-1)!.context).toMatch(/^is old\. Names have/);
  });

  it('are given away by whole words only', () => {
    expect(givesAway('the 63 bytes of a name', '63 bytes')).toBe(true);
    expect(givesAway('a name of 63 signs', '63 bytes')).toBe(true);
    expect(givesAway('a name of 6300 signs', '63 bytes')).toBe(false);
  });
});

/** Documents with facts of each kind, all different. */
function documents(n: number) {
  const towns = ['Arden', 'Belmar', 'Corvo', 'Dunmore', 'Elsted', 'Farrow', 'Gorham', 'Halden', 'Istria', 'Juniper'];
  return Array.from({ length: n }, (_, i) => {
    const town = towns[i % towns.length]! + (i >= towns.length ? `-${String.fromCharCode(65 + i / 10)}` : '');
    return {
      id: `doc-${i}`,
      source: 'chronicle',
      text:
        `The market hall of ${town} was opened in ${1700 + 7 * i} after a long quarrel.\n\n` +
        `Its tower is high. The tower of the church in ${town} stands ${31 + 3 * i} meters high.\n\n` +
        `The brass band of ${town} was founded by the teacher ${['Ada', 'Bea', 'Cleo', 'Dora', 'Eva'][i % 5]} ${town}son.`,
    };
  });
}

function makerOf(texts: ReturnType<typeof documents>): ProbeMaker {
  const maker = new ProbeMaker();
  for (const text of texts) maker.add(text);
  return maker;
}

describe('probes', () => {
  it('have three wrong choices of their kind, places in balance, and the same bytes for the same seed', async () => {
    const { probes } = await makerOf(documents(20)).make({ number: 30, seed: 3 });
    expect(probes).toHaveLength(30);
    for (const { choices, gold, answer, prompt, rest, form, question } of probes) {
      expect(choices[gold]).toBe(answer);
      expect(new Set(choices).size).toBe(4);
      if (form === 'number: meters') expect(choices.every((choice) => /^\d+ meters$/.test(choice))).toBe(true);
      expect(choices.some((choice) => `${prompt}${rest}`.includes(choice))).toBe(false);
      expect(givesAway(question, answer)).toBe(false);
    }
    const places = [0, 1, 2, 3].map((place) => probes.filter(({ gold }) => gold === place).length);
    expect(Math.max(...places) - Math.min(...places)).toBeLessThanOrEqual(1);
    const again = await makerOf(documents(20)).make({ number: 30, seed: 3 });
    expect(again.probes).toEqual(probes);
    expect((await makerOf(documents(20)).make({ number: 30, seed: 4 })).probes).not.toEqual(probes);
  });

  it('leave out copies and prompts that several answers follow, and say how many', async () => {
    const twice = documents(8);
    const other = { ...twice[0]!, id: 'other', text: twice[0]!.text.replaceAll('1700', '1666') };
    const { probes, leftOut } = await makerOf([...twice, twice[1]!, other]).make({ number: 100 });
    expect(leftOut).toMatchObject({ 'a copy': 5, 'the same words go on in several ways': 2 });
    expect(probes.filter(({ answer }) => answer === '1700' || answer === '1666')).toEqual([]);
  });

  it('take a model’s question only where it keeps the rules', async () => {
    const [town] = documents(1);
    const [opened] = findFacts(town!);
    const ask = (text: string) =>
      askByModel(
        fakeModel(() => text),
        [opened!],
      );
    expect(await ask(' When did the market of Arden open?')).toEqual([
      { question: 'When did the market of Arden open?', by: 'fake' },
    ]);
    for (const bad of [
      'Was the market opened in 1700?',
      'When?',
      'The market hall of Arden',
      'What colour do they like most?',
    ])
      expect(await ask(bad), bad).toMatchObject([{ by: 'rules' }]);
  });

  it('are written with four tasks and read back', async () => {
    const out = path.join(folder, 'probes');
    const set = await makerOf(documents(20)).make({ number: 12 });
    const manifest = await writeProbes(out, set, 0);
    expect(manifest.byKind).toEqual({ date: 4, number: 4, name: 4 });
    expect(fs.readdirSync(out).sort()).toEqual(
      ['items.jsonl', ...PROBE_TASKS.map((name) => `${name}.yaml`), 'probes.json'].sort(),
    );
    expect(readProbes(out)).toEqual(set.probes);
    expect(() => readProbes(folder)).toThrow('continuo probes');
  });
});

describe('categories of knowledge', () => {
  it('follow the paper’s table', () => {
    expect([categoryOf(1, 1), categoryOf(0.5, 0), categoryOf(0, 0.1), categoryOf(0, 0)]).toEqual([...KNOWLEDGE]);
  });

  const items = Array.from({ length: 8 }, (_, i) => ({
    id: `q${i}`,
    question: `What is ${i}?`,
    answer: `Answer ${i}.`,
  }));

  it('count greedy answers first, and draw only where none is right', async () => {
    const asked: TextRequest[] = [];
    const result = await slick(
      fakeModel((request) => {
        asked.push(request);
        const i = Number(/What is (\d)\?\nAnswer:$/.exec(request.prompt)![1]);
        const shown = request.prompt.split('\n\n').length - 1;
        expect(shown).toBe(4);
        expect(request.prompt.match(new RegExp(`What is ${i}\\?`, 'g'))).toHaveLength(1);
        if (i === 0) return ` answer 0`;
        if (i === 1) return request.prompt.includes('What is 2?') ? ' Answer 1.' : ' none';
        if (i === 2) return request.temperature ? ' Answer 2' : ' none';
        return ' none';
      }),
      items,
      { numPrompts: 6, numSamples: 3 },
    );
    expect(result.items.map(({ category }) => category).slice(0, 3)).toEqual([
      'HighlyKnown',
      'MaybeKnown',
      'WeaklyKnown',
    ]);
    expect(result.counts).toEqual({ HighlyKnown: 1, MaybeKnown: 1, WeaklyKnown: 1, Unknown: 5 });
    expect(asked.filter(({ temperature }) => temperature)).toHaveLength(6 * 6 * 3);
    expect(result.items[0]!.sampled).toBeUndefined();
    await expect(
      slick(
        fakeModel(() => ''),
        items.slice(0, 4),
      ),
    ).rejects.toThrow('more than 4 questions');
  });

  it('say which facts moved', () => {
    const result = (model: string, categories: string[]): SlickResult =>
      ({
        model,
        items: categories.map((category, i) => ({ ...items[i]!, category, greedy: 0, said: '' })),
      }) as unknown as SlickResult;
    const before = result('base', ['Unknown', 'HighlyKnown', 'MaybeKnown', 'Unknown']);
    const after = result('tuned', ['HighlyKnown', 'MaybeKnown', 'MaybeKnown', 'WeaklyKnown']);
    const moved = compareSlick(before, after);
    expect(moved.transitions).toEqual([
      [0, 1, 0, 0],
      [0, 1, 0, 0],
      [0, 0, 0, 0],
      [1, 0, 1, 0],
    ]);
    expect(moved.learned.map(({ id }) => id)).toEqual(['q0', 'q3']);
    expect(moved.forgotten.map(({ id }) => id)).toEqual(['q1']);
    expect(() => compareSlick(before, result('x', ['Unknown']))).toThrow('other questions');
  });
});
