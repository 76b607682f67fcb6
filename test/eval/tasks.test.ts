// Task files to scores, with a model whose likelihoods can be told by looking: the beginnings of words decide.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { parquetWriteBuffer } from 'hyparquet-writer';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type LanguageModel,
  type LikelihoodRequest,
  type RunTasksOptions,
  readEvalResults,
  runTasks,
  type TaskOutcome,
  TaskRegistry,
  writeResults,
} from '../../src/eval/index.ts';

let folder: string;
let asked: LikelihoodRequest[] = [];
let numCalls = 0;

/** A continuation's likelihood is the less, the longer it is; the text "best" is likeliest and greedy. */
const model: LanguageModel = {
  name: 'stub/model',
  maxTokens: 1000,
  fingerprint: 'stub',
  likelihoods: async (requests) => {
    numCalls++;
    asked.push(...requests);
    return requests.map(({ continuation }) => ({
      logLikelihood: continuation.includes('best') ? -0.5 : -continuation.length,
      isGreedy: continuation.includes('best'),
      numTokens: continuation.length,
    }));
  },
  rollingLikelihoods: async (texts) => texts.map((text) => -text.length * Math.LN2),
  generate: async (requests) =>
    requests.map(({ prompt }) => `I say #### ${prompt.match(/\d+/g)?.at(-1) ?? 'nothing'}.`),
  renderChat: (messages) => messages.map(({ role, content }) => `<${role}>${content}`).join('') + '<assistant>',
  close: () => {},
};

const write = (name: string, text: string) => {
  fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
  fs.writeFileSync(path.join(folder, name), text);
};
const jsonl = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-tasks-'));
  const questions = Array.from({ length: 6 }, (_, i) => ({
    q: `Question ${i}`,
    choices: i % 2 ? ['best', 'long one', 'c'] : ['worst of all', 'best', 'c'],
    gold: i === 5 ? 2 : i % 2 ? 0 : 1,
  }));
  write('data/mc.jsonl', jsonl(questions));
  write(
    'data/numbers.jsonl',
    jsonl([1, 22, 333].map((n) => ({ q: `What is ${n}?`, a: n === 333 ? 'other' : `${n}` }))),
  );
  write('data/bad.jsonl', `${JSON.stringify({ q: 'x' })}\n{"q": \n`);
  write(
    'data/uneven.jsonl',
    jsonl([
      { q: 'a', c: ['x', 'y'], g: 0 },
      { q: 'b', g: 1 },
    ]),
  );
  write(
    '_defaults_yaml',
    `dataset_path: json
dataset_kwargs: {data_files: {test: data/mc.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{q}}:"
doc_to_choice: choices
doc_to_target: gold
tag: [of-choice]
task_list: [nonsense]
metadata: {version: 1.5}
`,
  );
  write('one.yaml', 'include: _defaults_yaml\ntask: one\ntask_alias: The one\n');
  write(
    'two.yaml',
    'include: one.yaml\ntask: two\ntask_alias: null\ndescription: "Answer.\\n"\nnum_fewshot: 1\nfewshot_split: test\nfewshot_config: {sampler: first_n}\n',
  );
  write(
    'group.yaml',
    `group: both
group_alias: Both of them
task:
  - one
  - group: inner
    task: [{task: two, num_fewshot: 2}]
aggregate_metric_list: [{metric: acc}]
metadata: {version: 2}
`,
  );
  write(
    'numbers.yaml',
    `task: numbers
dataset_path: json
dataset_kwargs: {data_files: {test: data/numbers.jsonl}}
test_split: test
doc_to_text: "{{q}}"
doc_to_target: "{{a}}"
generation_kwargs: {until: "\\n", max_gen_toks: 5, do_sample: no}
filter_list:
  - {name: number, filter: [{function: regex, regex_pattern: '#### (\\d+)'}, {function: take_first}]}
  - {name: all, filter: [{function: take_first}]}
`,
  );
  write(
    'rolling.yaml',
    'task: rolling\ndataset_path: json\ndataset_kwargs: {data_files: {test: data/numbers.jsonl}}\ntest_split: test\noutput_type: loglikelihood_rolling\ndoc_to_target: q\n',
  );
  const based = (name: string, more: string) =>
    write(`${name}.yaml`, `include: _defaults_yaml\ntask: ${name}\ntag: odd\n${more}`);
  based('python', 'process_docs: !function utils.process_docs\n');
  based('mistyped', 'doc_to_txt: q\n');
  based('no_field', 'doc_to_text: "{{question}}"\n');
  based('no_metric', 'metric_list: [{metric: accuracy}]\n');
  based('bad_line', 'dataset_kwargs: {data_files: {test: data/bad.jsonl}}\n');
  based('uneven', 'dataset_kwargs: {data_files: {test: data/uneven.jsonl}}\ndoc_to_choice: c\ndoc_to_target: g\n');
  based('no_split', 'test_split: dev\n');
  based('code', 'unsafe_code: true\n');
  based('on_hub', 'dataset_path: squad\n');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

const run = (names: readonly string[], options: Partial<RunTasksOptions> = {}) =>
  runTasks(model, new TaskRegistry([folder]).select(names), { cache: path.join(folder, 'cache'), ...options });

describe('registry', () => {
  it('finds tasks, groups and tags, inherited ones too, and what patterns stand for', () => {
    const registry = new TaskRegistry([folder]);
    expect(registry.entries.get('of-choice')).toMatchObject({ kind: 'tag', tasks: ['one', 'two'] });
    expect(registry.entries.get('both')?.kind).toBe('group');
    expect(registry.select(['on[e]', 'numbers']).tasks.map(({ name }) => name)).toEqual(['one', 'numbers']);
    expect(registry.select([path.join(folder, 'one.yaml')]).tasks[0]?.name).toBe('one');
  });
  it('gives groups with their inner groups and overrides', () => {
    const { tasks, groups } = new TaskRegistry([folder]).select(['both']);
    expect(tasks.map(({ name, config, groups: inside }) => [name, config.num_fewshot, inside])).toEqual([
      ['one', undefined, ['both']],
      ['two', 2, ['both', 'both::inner']],
    ]);
    expect(groups.map(({ name, tasks: all }) => [name, all])).toEqual([
      ['both::inner', ['two']],
      ['both', ['one', 'two']],
    ]);
  });
  it.each([
    [['onne'], /no task, group or tag is named "onne". Did you mean "one"\?/],
    [['both', 'two'], /task two was chosen twice with other settings/],
    [['z*'], /no task, group or tag has such a name/],
  ])('refuses %s', (names, message) => {
    expect(() => new TaskRegistry([folder]).select(names)).toThrow(message);
  });
});

describe('runTasks', () => {
  it('asks in one go, scores, and gives means of groups with their errors', async () => {
    asked = [];
    numCalls = 0;
    const { report } = await run(['both']);
    expect(numCalls).toBe(1);
    expect(asked[0]).toMatchObject({ context: 'Question 0:', continuation: ' worst of all' });
    // Examples are the first others, with their right answers; the description comes first.
    expect(asked[18]?.context).toBe('Answer.\nQuestion 1: best\n\nQuestion 2: best\n\nQuestion 0:');
    const acc = { metric: 'acc', filter: 'none', higherIsBetter: true, value: 5 / 6 };
    const [one, two] = report.tasks;
    expect(one).toMatchObject({
      alias: 'The one',
      version: '1.5',
      numFewShot: 0,
      numDocs: 6,
      metrics: [acc, { metric: 'acc_norm' }],
    });
    expect(one?.metrics[0]?.stderr).toBeCloseTo(Math.sqrt(5 / 36 / 5), 12);
    expect(two).toMatchObject({ alias: 'two', numFewShot: 2, groups: ['both', 'both::inner'] });
    expect(report.groups.find(({ group }) => group === 'both')?.metrics).toMatchObject([acc]);
  });
  it('writes conversations by the chat template, examples as turns of their own or in one', async () => {
    asked = [];
    await run(['two'], { applyChatTemplate: true, limit: 1, systemInstruction: 'Be brief.' });
    expect(asked[0]).toMatchObject({
      context: '<system>Be brief.\n\nAnswer.\n<user>Question 1:<assistant>best<user>Question 0:<assistant>',
      continuation: 'worst of all',
    });
    asked = [];
    await run(['two'], { applyChatTemplate: true, fewshotAsMultiturn: false, limit: 1 });
    expect(asked[0]?.context).toBe('<system>Answer.\n<user>Question 1: best\n\nQuestion 0:<assistant>');
  });
  it('filters answers and scores each filter; rolling likelihoods give bits per byte', async () => {
    const { outcomes } = await run(['numbers', 'rolling']);
    const [numbers, rolling] = outcomes;
    expect(numbers?.result.metrics.map(({ metric, filter, value }) => [metric, filter, value])).toEqual([
      ['exact_match', 'number', 2 / 3],
      ['exact_match', 'all', 0],
    ]);
    expect(numbers?.samples[1]).toMatchObject({
      requests: [['What is 22?', { until: '\n', do_sample: false }]],
      responses: ['I say #### 22.'],
      filtered: { number: '22', all: 'I say #### 22.' },
      scores: { 'exact_match,number': 1, 'exact_match,all': 0 },
    });
    const bits = rolling?.result.metrics.find(({ metric }) => metric === 'bits_per_byte');
    expect(bits?.value).toBeCloseTo(1, 12);
    expect(bits?.stderr).toBeUndefined();
  });
  it('takes kept results where nothing changed', async () => {
    const store = new Map<string, TaskOutcome>();
    const kept = {
      get: (key: string) => store.get(key),
      put: (key: string, value: TaskOutcome) => void store.set(key, value),
    };
    const first = await run(['one'], { kept });
    numCalls = 0;
    const second = await run(['one', 'two'], { kept });
    expect([second.numKept, numCalls]).toEqual([1, 1]);
    expect(second.report.tasks[0]).toEqual({ ...first.report.tasks[0] });
    expect((await run(['one'], { kept, limit: 3 })).numKept).toBe(0);
  });
  it.each([
    [
      'python',
      /python\.yaml: task python: process_docs is the Python function utils\.process_docs .* has no twin here/,
    ],
    ['mistyped', /doc_to_txt: no such key\. Did you mean "doc_to_text"\?/],
    ['no_field', /task no_field, document 0: "question" is undefined\./],
    ['no_metric', /the metric "accuracy" is not supported/],
    ['bad_line', /bad\.jsonl: line 2: not JSON/],
    ['uneven', /task uneven, document 1: doc_to_choice: a list of choices expected, found null\./],
    ['no_split', /has no split "dev"; it has test/],
    ['code', /runs programs that the model writes. Allow it with --run-generated-code/],
    ['on_hub', /no folder squad .* and no name on the hub, which is OWNER\/NAME/],
  ])('refuses %s by name', async (name, message) => {
    await expect(run([name])).rejects.toThrow(message);
  });
  it('reads folders laid out as on the hub, Parquet with lists and structures', async () => {
    const rows = [
      { q: 'a', choices: { text: ['best', 'x'] }, gold: 0n },
      { q: 'b', choices: { text: ['y', 'best', 'z'] }, gold: 1n },
    ];
    const files = {
      'set/plain/test-00000-of-00001.parquet': rows,
      'set/plain/train-00000-of-00001.parquet': rows.slice(1),
    };
    for (const [name, data] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
      const columns = [
        { name: 'q', data: data.map(({ q }) => q), type: 'STRING' as const },
        { name: 'choices', data: data.map(({ choices }) => choices) },
        { name: 'gold', data: data.map(({ gold }) => gold), type: 'INT64' as const },
      ];
      const schema = [
        { name: 'root', num_children: 3 },
        {
          name: 'q',
          type: 'BYTE_ARRAY' as const,
          converted_type: 'UTF8' as const,
          repetition_type: 'OPTIONAL' as const,
        },
        { name: 'choices', num_children: 1, repetition_type: 'OPTIONAL' as const },
        { name: 'text', num_children: 1, repetition_type: 'OPTIONAL' as const, converted_type: 'LIST' as const },
        { name: 'list', num_children: 1, repetition_type: 'REPEATED' as const },
        {
          name: 'element',
          type: 'BYTE_ARRAY' as const,
          converted_type: 'UTF8' as const,
          repetition_type: 'OPTIONAL' as const,
        },
        { name: 'gold', type: 'INT64' as const, repetition_type: 'OPTIONAL' as const },
      ];
      fs.writeFileSync(
        path.join(folder, name),
        Buffer.from(
          parquetWriteBuffer({
            columnData: columns.map(({ name: column, data: values }) => ({ name: column, data: values })),
            schema,
          }),
        ),
      );
    }
    write(
      'set/README.md',
      '---\nconfigs:\n- config_name: plain\n  data_files:\n  - split: test\n    path: plain/test-*\n---\n',
    );
    write(
      'parquet.yaml',
      'include: _defaults_yaml\ntask: parquet\ndataset_path: set\ndataset_name: plain\ndataset_kwargs: null\ndoc_to_choice: "{{choices.text}}"\n',
    );
    const { outcomes } = await run(['parquet']);
    expect(outcomes[0]?.samples.map(({ doc }) => doc)).toEqual([
      { q: 'a', choices: { text: ['best', 'x'] }, gold: 0 },
      { q: 'b', choices: { text: ['y', 'best', 'z'] }, gold: 1 },
    ]);
    expect(outcomes[0]?.result.metrics[0]?.value).toBe(1);
  });
});

describe('result files', () => {
  it('are a report with samples, and what lm-evaluation-harness writes', async () => {
    const selection = new TaskRegistry([folder]).select(['both', 'numbers']);
    const options = { cache: path.join(folder, 'cache') };
    const result = await runTasks(model, selection, options);
    const out = path.join(folder, 'out');
    const written = writeResults(out, result, selection.groups, options);
    const ours = readEvalResults(written.report);
    expect(ours.report).toEqual(JSON.parse(JSON.stringify(result.report)));
    expect(ours.samples.get('one')).toHaveLength(6);
    const theirs = readEvalResults(written.results);
    expect(theirs.report.tasks.map(({ task, numDocs }) => [task, numDocs])).toEqual([
      ['one', 6],
      ['two', 6],
      ['numbers', 3],
    ]);
    expect(theirs.samples.get('one')?.map(({ docHash }) => docHash)).toEqual(
      ours.samples.get('one')?.map(({ docHash }) => docHash),
    );
    const line = JSON.parse(
      fs.readFileSync(written.results.replace(/results_(.*)\.json$/, 'samples_one_$1.jsonl'), 'utf8').split('\n')[0]!,
    );
    expect(line).toMatchObject({
      doc_id: 0,
      target: '1',
      arguments: { gen_args_1: { arg_0: 'Question 0:', arg_1: ' best' } },
      resps: [[['-13', 'False']], [['-0.5', 'True']], [['-2', 'False']]],
      filter: 'none',
      metrics: ['acc', 'acc_norm'],
      acc: 1,
    });
  });
});
