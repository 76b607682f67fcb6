// A folder of probes: items.jsonl, and task files in lm-evaluation-harness's format that put them in four ways.
//   probes-cloze       the sentence up to the answer, four choices
//   probes-qa          a question, four choices
//   probes-extraction  the document's own words before the answer: is it the likeliest text?
//   probes-recall      the question: is the answer the likeliest text?
// Extraction without recall is text learned by heart; recall is knowledge that can be used.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, DataError } from '../../base/errors.ts';
import { explainSystemError, writeFolderAtomic } from '../../base/files.ts';
import type { Probe, ProbeSet } from './make.ts';

const ITEMS = 'items.jsonl';
const MANIFEST = 'probes.json';

export const PROBE_TASKS = ['probes-cloze', 'probes-qa', 'probes-extraction', 'probes-recall'] as const;

export interface ProbeManifest {
  version: 1;
  seed: number;
  numProbes: number;
  byKind: Record<string, number>;
  numDocuments: number;
  numFacts: number;
  numUsable: number;
  leftOut: Record<string, number>;
  /** Expected accuracy of always taking the longest choice, ties by chance; chance is 0.25. */
  longestChoice: number;
  /** Who asked, and how many questions. */
  questionsBy: Record<string, number>;
}

export async function writeProbes(folder: string, set: ProbeSet, seed: number): Promise<ProbeManifest> {
  const { probes, ...counts } = set;
  const manifest: ProbeManifest = {
    version: 1,
    seed,
    numProbes: probes.length,
    byKind: tally(probes.map(({ kind }) => kind)),
    ...counts,
    longestChoice: longestChoice(probes),
    questionsBy: tally(probes.map(({ by }) => by)),
  };
  await writeFolderAtomic(folder, (temporary) => {
    const write = (name: string, text: string) => fs.writeFileSync(path.join(temporary, name), text);
    write(ITEMS, probes.map((probe) => JSON.stringify(row(probe)) + '\n').join(''));
    for (const [name, text] of Object.entries(taskFiles())) write(`${name}.yaml`, text);
    write(MANIFEST, JSON.stringify(manifest, null, 2) + '\n');
  });
  return manifest;
}

/** @throws ConfigError where the folder holds none; DataError for a damaged line */
export function readProbes(folder: string): Probe[] {
  const file = path.join(folder, ITEMS);
  if (!fs.existsSync(file))
    throw new ConfigError(`${folder}: expected a folder that \`continuo probes\` wrote, found no ${ITEMS} in it.`);
  let text: string;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (error) {
    throw explainSystemError(error, file, 'reading it');
  }
  return text
    .trimEnd()
    .split('\n')
    .map((line, i) => {
      try {
        const { span, ...probe } = JSON.parse(line) as ReturnType<typeof row>;
        return { ...probe, start: span[0]!, end: span[1]! };
      } catch {
        throw new DataError(
          file,
          `line ${i + 1}: expected a probe as JSON, found ${JSON.stringify(line.slice(0, 60))}.`,
        );
      }
    });
}

function row({ start, end, ...probe }: Probe) {
  return { ...probe, span: [start, end] };
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

function longestChoice(probes: readonly Probe[]): number {
  const hits = probes.map(({ choices, gold }) => {
    const most = Math.max(...choices.map((choice) => choice.length));
    return choices[gold]!.length === most ? 1 / choices.filter((choice) => choice.length === most).length : 0;
  });
  return hits.reduce((sum, hit) => sum + hit, 0) / Math.max(1, probes.length);
}

function taskFiles(): Record<string, string> {
  const head = (task: string) =>
    `task: ${task}\ntag: knowledge-probes\ndataset_path: json\ndataset_kwargs:\n  data_files:\n    test: ${ITEMS}\ntest_split: test\nnum_fewshot: 0\n`;
  const metric = (name: string, aggregation: string, isBetter: boolean) =>
    `  - metric: ${name}\n    aggregation: ${aggregation}\n    higher_is_better: ${isBetter}\n`;
  const chosen = (task: string, prompt: string) =>
    `${head(task)}output_type: multiple_choice\ndoc_to_text: "${prompt}"\ndoc_to_choice: choices\ndoc_to_target: gold\nmetric_list:\n` +
    `${metric('acc', 'mean', true)}${metric('acc_norm', 'mean', true)}metadata:\n  version: 1.0\n`;
  const said = (task: string, prompt: string) =>
    `${head(task)}output_type: loglikelihood\ndoc_to_text: "${prompt}"\ndoc_to_target: " {{answer}}"\nmetric_list:\n` +
    `${metric('acc', 'mean', true)}${metric('perplexity', 'perplexity', false)}metadata:\n  version: 1.0\n`;
  const question = 'Question: {{question}}\\nAnswer:';
  return {
    'probes-cloze': chosen('probes-cloze', '{{prompt}}'),
    'probes-qa': chosen('probes-qa', question),
    'probes-extraction': said('probes-extraction', '{{context}}'),
    'probes-recall': said('probes-recall', question),
  };
}
