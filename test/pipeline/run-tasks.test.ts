// Tasks in the loop of a run: before, on the way, after; the best checkpoint by a rule that names a task.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import type { EvalReport, Sample } from '../../src/eval/index.ts';
import { makeProject, type Project, startCli } from './fixtures.ts';

const TASK = `
task: letters
dataset_path: json
dataset_kwargs: { data_files: { test: letters.jsonl } }
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: [a, b]
doc_to_target: answer
metric_list: [{ metric: acc, aggregation: mean, higher_is_better: true }]
metadata: { version: 1 }
`;

let project: Project | undefined;
afterEach(() => {
  if (project) fs.rmSync(project.root, { recursive: true, force: true });
});

function makeTaskProject(evaluate: Record<string, unknown>): Project {
  project = makeProject();
  const folder = path.join(project.root, 'tasks');
  fs.mkdirSync(folder);
  fs.writeFileSync(path.join(folder, 'letters.yaml'), TASK);
  const lines = Array.from({ length: 6 }, (_, i) => JSON.stringify({ question: `q${i}`, answer: i % 2 }));
  fs.writeFileSync(path.join(folder, 'letters.jsonl'), lines.join('\n'));
  project.configure({
    evaluate: { every: '8 steps', tasks: ['letters'], taskFolders: ['tasks'], ...evaluate },
    checkpoints: { keep: 1, best: { of: 'domain', within: { letters: 100 } } },
  });
  return project;
}

describe('tasks of a run', () => {
  test.each([{ beside: false }, { beside: true }])('%o', async ({ beside }) => {
    const made = makeTaskProject({ tasksEvery: 8, beside });
    const { runFolder } = made;
    const { code, err, out } = await startCli(made, 'run', '--threads', '1').ended;
    expect(code, err).toBe(0);
    expect(out).toMatch(/best checkpoint {2}step-\d{8} \(gains: domain [+-]/);
    const evals = path.join(runFolder, 'evals');
    const read = (step: string) =>
      JSON.parse(fs.readFileSync(path.join(evals, `tasks-step-${step}.json`), 'utf8')) as EvalReport;
    const reports = ['00000000', '00000008', '00000016', '00000024'].map(read);
    expect(fs.readdirSync(evals).filter((name) => name.startsWith('pending'))).toEqual([]);
    for (const { tasks } of reports) expect(tasks).toMatchObject([{ task: 'letters', numDocs: 6, numFewShot: 0 }]);
    // The same questions to another model: comparable, and not taken from what the first one answered.
    expect(new Set(reports.map(({ tasks }) => tasks[0]!.fingerprint)).size).toBe(1);
    expect(new Set(reports.map(({ modelFingerprint }) => modelFingerprint)).size).toBe(4);
    const samples = fs.readFileSync(path.join(evals, 'samples-step-00000008', 'letters.jsonl'), 'utf8').trimEnd();
    expect(samples.split('\n').map((line) => (JSON.parse(line) as Sample).docId)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(fs.readFileSync(path.join(runFolder, 'report.md'), 'utf8')).not.toContain('not comparable');
  });

  test('a task that there is not is refused before anything is trained', async () => {
    const made = makeTaskProject({ tasks: ['leters'] });
    const { runFolder } = made;
    const { code, err } = await startCli(made, 'run', '--threads', '1').ended;
    expect(code).not.toBe(0);
    expect(err).toContain('leters');
    expect(err).not.toContain('    at ');
    expect(fs.existsSync(path.join(runFolder, 'metrics.jsonl'))).toBe(false);
  });
});
