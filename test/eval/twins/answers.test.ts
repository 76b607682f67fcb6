// Twins whose Python cannot be run beside them, by hand.
import { describe, expect, it } from 'vitest';
import { sameExpression } from '../../../src/eval/twins/exact-algebra.ts';
import { type Doc, type Twin, twinsOf } from '../../../src/eval/twins/index.ts';

const twin = (folder: string, name: string): Twin => twinsOf(folder)![name]!;

describe('folders', () => {
  it('are found by their last parts, the longest first', () => {
    const of = (folder: string) => twinsOf(folder)?.['utils.process_docs'];
    expect(of('/home/ann/tasks/hellaswag')).toBeDefined();
    expect(of('C:\\tasks\\hellaswag')).toBe(of('hellaswag'));
    expect(of('x/leaderboard/gpqa')).not.toBe(of('x/gpqa/zeroshot'));
    expect(twinsOf('global_mmlu/full/sw')).toBe(twinsOf('global_mmlu/full/pl'));
    expect(twinsOf('tasks/my_own')).toBeUndefined();
    expect(twinsOf('full/sw')).toBeUndefined();
  });
});

describe('answers', () => {
  it('of CoQA are scored against all but one of the references', () => {
    const doc = {
      story: 'S',
      questions: { input_text: ['Who?', 'Where?'] },
      answers: { input_text: ['Ann', 'in the park'] },
      additional_answers: { '0': { input_text: ['Ann', 'In the park'] }, '1': { input_text: ['Ann', 'the park'] } },
    };
    expect(twin('coqa', 'utils.doc_to_text')(doc)).toBe('S\n\nQ: Who?\n\nA: Ann\n\nQ: Where?\n\nA:');
    expect(twin('coqa', 'utils.doc_to_target')(doc)).toEqual(['in the park', 'the park']);
    // "park" is exact for the second reference only; against "in park" it has precision 1 and recall 1/2.
    expect(twin('coqa', 'utils.process_results')(doc, ['The park!\nmore'])).toEqual({ em: 0.5, f1: (1 + 2 / 3) / 2 });
  });

  it('of XQuAD and ReCoRD are compared without articles, and empty ones agree', () => {
    const xquad = twin('xquad', 'utils.process_results_qa');
    expect(xquad({ answers: { text: ['The cat'] } }, ['cat'])).toEqual({ f1: 1, exact_match: 1 });
    expect(xquad({ answers: { text: ['the'] } }, ['a'])).toEqual({ f1: 1, exact_match: 1 });
    expect(xquad({ answers: { text: ['the'] } }, ['cat'])).toEqual({ f1: 0, exact_match: 0 });
    const [made] = twin(
      'super_glue/record',
      'util.process_docs',
    )([
      {
        passage: 'P\n@highlight\nH1\n@highlight\nH2',
        query: 'X @placeholder',
        entities: ['b', 'a', 'b'],
        answers: ['b'],
      },
    ]) as Doc[];
    expect(made!.entities).toEqual(['a', 'b']);
    expect(twin('super_glue/record', 'util.doc_to_text')(made)).toBe('P\n\n  - H1.\n  - H2.\n');
    expect(twin('super_glue/record', 'util.doc_to_choice')(made)).toEqual(['  - X a', '  - X b']);
    const scores = twin('super_glue/record', 'util.process_results')(made, [
      [-2, false],
      [-1, false],
    ]);
    expect(scores).toEqual({ f1: 1, em: 1 });
  });

  it('of a look-up count where the value stands in them', () => {
    const config = twin('squad_completion', 'task.SQUADCompletion')({ task: 'squad_completion' }) as Doc;
    expect(config).toMatchObject({
      task: 'squad_completion',
      dataset_path: 'hazyresearch/based-squad',
      output_type: 'generate_until',
    });
    expect(config.process_results({ value: ' Oslo (N.) ' }, ['it is oslo (n.)'])).toEqual({ contains: 1 });
    expect(config.process_results({ value: 'Oslo (N.)' }, ['it is Oslo Nx'])).toEqual({ contains: 0 });
  });
});

describe('IFEval', () => {
  it('scores prompts and instructions, strictly and loosely', () => {
    const doc = {
      prompt: 'Write two paragraphs without commas.',
      instruction_id_list: ['punctuation:no_comma', 'detectable_format:title'],
      kwargs: [{}, {}],
    };
    const results = twin('ifeval', 'utils.process_results')(doc, ['Sure, here it is:\n<<Title>>\nText']);
    expect(results).toEqual({
      prompt_level_strict_acc: 0,
      inst_level_strict_acc: [false, true],
      prompt_level_loose_acc: 1,
      inst_level_loose_acc: [true, true],
    });
    expect(twin('leaderboard/ifeval', 'utils.agg_inst_level_acc')([[true, false], [true]])).toBeCloseTo(2 / 3, 15);
  });
});

describe('expressions', () => {
  it('are the same when they are the same number or function', () => {
    const same = [
      ['\\frac{1}{2}', '0.5'],
      ['\\frac12', '1/2'],
      ['x+1', '1+x'],
      ['(x+1)^2', 'x^2+2x+1'],
      ['\\sqrt{12}', '2\\sqrt{3}'],
      ['\\frac{1}{\\sqrt{2}}', '\\frac{\\sqrt{2}}{2}'],
      ['2\\pi', '\\pi\\cdot2'],
      ['\\frac{x^2-1}{x-1}', 'x+1'],
      ['-\\frac{2}{3}', '\\frac{-2}{3}'],
      ['\\sqrt[3]{8}', '2'],
      ['10,000', '10000'],
      ['3^{-2}', '\\dfrac{1}{9}'],
      ['\\left(2+\\sqrt{5}\\right)\\left(2-\\sqrt{5}\\right)', '-1'],
      ['x_1+x_{2}', 'x_2+x_1'],
      ['\\sqrt[3]{4}', '4^{1/3}'],
      ['\\binom{5}{2}+|-3|+3!', '19'],
      ['\\log_28', '3'],
    ];
    for (const [a, b] of same) expect(sameExpression(a!, b!), `${a} ${b}`).toBe(true);
  });

  it('differ when they differ, and are undecided when they cannot be read', () => {
    for (const [a, b] of [
      ['1', '2'],
      ['x', 'y'],
      ['\\sqrt{2}', '1.41421356'],
      ['2\\pi', '6.28'],
      ['\\sqrt{x^2}', 'x'],
      ['a_1', 'a_2'],
    ])
      expect(sameExpression(a!, b!), `${a} ${b}`).toBe(false);
    for (const odd of ['(1,2)', '[0,1)', '\\begin{pmatrix}1\\end{pmatrix}', '', '\\frac{1}{0}', '10_2', 'x<3', '2^'])
      expect(sameExpression(odd, odd), odd).toBe(undefined);
  });
});
