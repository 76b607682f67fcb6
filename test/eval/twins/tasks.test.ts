// Task files that name Python, run from the file to the score with twins in its place.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { type LanguageModel, pythonSandbox, runTasks, TaskRegistry } from '../../../src/eval/index.ts';

/** Answers by a function; likelihoods are the higher the shorter the continuation. */
function stub(answer: (prompt: string) => string): LanguageModel {
  return {
    name: 'stub',
    maxTokens: 4096,
    fingerprint: 'stub',
    likelihoods: async (requests) =>
      requests.map(({ continuation }) => ({ logLikelihood: -continuation.length, isGreedy: false, numTokens: 1 })),
    rollingLikelihoods: async (texts) => texts.map((text) => -text.length),
    generate: async (requests) => requests.map(({ prompt }) => answer(prompt)),
    renderChat: () => '',
    close: () => {},
  };
}

function taskFolder(folder: string, files: Record<string, string>): string {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'twins-'));
  for (const [name, content] of Object.entries(files)) {
    fs.mkdirSync(path.join(root, folder), { recursive: true });
    fs.writeFileSync(path.join(root, folder, name), content.replaceAll('$ROOT', path.join(root, folder)));
  }
  return root;
}

const scoresOf = async (model: LanguageModel, root: string, task: string, options = {}) => {
  const { report } = await runTasks(model, new TaskRegistry([root]).select([task]), { limit: 4, ...options } as never);
  return Object.fromEntries(report.tasks[0].metrics.map(({ metric, value }) => [metric, value]));
};

describe('task files that name Python', () => {
  it('make RULER samples in the tokens of the model, and score them at their length', async () => {
    const root = taskFolder('ruler', {
      'mine.yaml': `task: mine
output_type: generate_until
test_split: test
custom_dataset: !function niah_utils.niah_multivalue
doc_to_text: "{{input}}"
doc_to_target: "{{outputs}}"
gen_prefix: "{{gen_prefix}}"
target_delimiter: " "
process_results: !function common_utils.process_results
generation_kwargs: { until: [], max_gen_toks: 128 }
metric_list:
  - { metric: "1024", aggregation: !function common_utils.aggregate_metrics, higher_is_better: true }
metadata: { version: 1.0, max_seq_lengths: [1024], num_samples: 4 }
`,
    });
    const countTokens = (text: string) => text.split(/\s+/).length;
    const lengths: number[] = [];
    const half = stub((prompt) => {
      lengths.push(countTokens(prompt));
      const key = /numbers for (\S+) mentioned in the provided text are$/.exec(prompt)![1];
      return [...prompt.matchAll(new RegExp(`for ${key} is: (\\d+)`, 'g'))]
        .slice(0, 2)
        .map((m) => m[1])
        .join(', ');
    });
    expect(await scoresOf(half, root, 'mine', { countTokens })).toEqual({ '1024': 0.5, '4096': -1 });
    for (const length of lengths) expect(length + 128).toBeLessThanOrEqual(1024);
    await expect(scoresOf(half, root, 'mine')).rejects.toThrow(/tokens/);
  });

  it('run HumanEval only where it is allowed', async () => {
    const documents = [2, 3].map((n) => ({
      task_id: `t/${n}`,
      prompt: `def times${n}(x):\n`,
      test: `def check(f):\n    assert f(2) == ${2 * n}\n`,
      entry_point: `times${n}`,
    }));
    const own = fs.readFileSync(path.resolve('data/tasks/humaneval/humaneval.yaml'), 'utf8');
    const root = taskFolder('humaneval', {
      'test.jsonl': documents.map((doc) => JSON.stringify(doc)).join('\n'),
      'humaneval.yaml': own.replace(
        'dataset_path: openai/openai_humaneval',
        'dataset_path: json\ndataset_kwargs: { data_files: { test: $ROOT/test.jsonl } }',
      ),
    });
    const model = stub(() => '    return x * 2');
    await expect(scoresOf(model, root, 'humaneval')).rejects.toThrow(/--run-generated-code/);
    expect(await scoresOf(model, root, 'humaneval', { runCode: await pythonSandbox() })).toEqual({ 'pass@1': 0.5 });
  });

  it('read HellaSwag and WinoGrande', async () => {
    const own = (name: string, dataset: string) =>
      fs
        .readFileSync(path.resolve(`data/tasks/${name}/${name}.yaml`), 'utf8')
        .replace(
          dataset,
          'dataset_path: json\ndataset_kwargs: { data_files: { validation: $ROOT/v.jsonl, train: $ROOT/v.jsonl } }',
        )
        .replace('dataset_name: winogrande_xl\n', '');
    const hellaswag = taskFolder('hellaswag', {
      'v.jsonl': JSON.stringify({
        activity_label: 'A',
        ctx_a: 'B [x] c',
        ctx_b: 'he',
        endings: ['long words', 'it', 'longer', 'four'],
        label: '1',
      }),
      'hellaswag.yaml': own('hellaswag', 'dataset_path: Rowan/hellaswag'),
    });
    expect(
      await scoresOf(
        stub(() => ''),
        hellaswag,
        'hellaswag',
      ),
    ).toEqual({ acc: 1, acc_norm: 0 });
    const winogrande = taskFolder('winogrande', {
      'v.jsonl': JSON.stringify({ sentence: 'The _ fell.', option1: 'cup', option2: 'mat', answer: '1' }),
      'winogrande.yaml': own('winogrande', 'dataset_path: allenai/winogrande'),
    });
    expect(
      await scoresOf(
        stub(() => ''),
        winogrande,
        'winogrande',
      ),
    ).toEqual({ acc: 1 });
  });

  it('may write their keys in quotes', () => {
    const root = taskFolder('quoted', {
      'a.yaml': '"include": "_base_yaml"\n"task": "quoted_a"\n"tag": "quoted_tag"\n',
      'b.yaml': "'task': 'quoted_b'\n'tag':\n  - quoted_tag\n",
      _base_yaml: 'dataset_path: json\n',
    });
    expect(new TaskRegistry([root]).select(['quoted_tag']).tasks.map((task) => task.name)).toEqual([
      'quoted_a',
      'quoted_b',
    ]);
  });

  it('are all defined where they are bundled', () => {
    const registry = new TaskRegistry([path.resolve('data/tasks')]);
    expect(registry.select(['mmlu']).tasks.length).toBe(57);
    expect(registry.select(['mgsm_direct']).tasks.length).toBe(11);
    expect(registry.select(['hendrycks_math', 'minerva_math']).tasks.length).toBe(14);
  });
});
