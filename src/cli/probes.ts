import { type Command, Option } from 'commander';
import { formatCount } from '../base/units.ts';
import { KNOWLEDGE, type MovedFact, PROBE_TASKS, type SlickResult } from '../eval/index.ts';
import type { KnowRequest, KnowResult, ProbesRequest, ProbesResult } from '../pipeline/index.ts';
import {
  type CommonOptions,
  collect,
  declare,
  json,
  number,
  pipelineOptions,
  positiveInteger,
  withOptions,
} from './command.ts';
import type { Output } from './output.ts';
import { formatFacts, formatTable } from './table.ts';

const MAX_SHOWN = 8;

export function probesCommand(output: Output): Command {
  return declare(
    'probes',
    'Questions from your own documents, and what a model knows of their answers.',
    'continuo probes continuo.yaml --out probes && continuo probes know runs/handbook/checkpoints/step-00000400 --probes probes',
  )
    .addCommand(makeCommand(output), { isDefault: true })
    .addCommand(knowCommand(output));
}

function makeCommand(output: Output): Command {
  const command = declare(
    'make',
    'Make questions from your own documents, as tasks for `continuo eval --tasks`. The word make may be left out.',
    'continuo probes make continuo.yaml --out probes',
  )
    .argument('<source...>', 'a continuo.yaml, or the documents: files, folders, globs')
    .option('--out <folder>', 'where the items and their task files go', 'probes')
    .option('--number <n>', 'questions to make at most', positiveInteger, 200)
    .option('--seed <n>', 'the same seed and documents give the same questions', number, 0)
    .addOption(
      new Option('--split <side>', 'of a configuration: the documents that are trained on, or those held out')
        .choices(['train', 'held-out'])
        .default('train'),
    )
    .option(
      '--corpus <name>',
      'of a configuration: a corpus to read (default: those of the domain); may be repeated',
      collect,
    )
    .option('--field <name>', 'field of JSONL and Parquet rows that holds the text')
    .option('--writer <model>', 'a model, or an OpenAI-compatible API (https://HOST/v1), that asks in words of its own')
    .option('--writer-model <name>', 'the model of that API; its key is read from OPENAI_API_KEY')
    .option('--force', 'overwrite the folder if it exists');
  return withOptions(command, 'threads', 'json', 'quiet').action(
    async (from: string[], options: CommonOptions & Omit<ProbesRequest, 'from'> & { corpus?: string[] }) => {
      const { makeProbes } = await import('../pipeline/index.ts');
      const request = { ...options, from, corpora: options.corpus };
      const result = await makeProbes(request, pipelineOptions(options, output));
      output.print(options.json ? json(result) : madePage(result, output));
    },
  );
}

function madePage(result: ProbesResult, { paint }: Output): string {
  const kinds = Object.entries(result.byKind).map(([kind, n]) => `${n} ${kind}`);
  const left = Object.entries(result.leftOut).map(([reason, n]) => `${formatCount(n)}: ${reason}`);
  const facts: [string, string][] = [
    ['probes', `${result.numProbes} (${kinds.join(', ')}) into ${result.out}`],
    [
      'from',
      `${formatCount(result.numFacts)} facts of ${formatCount(result.numDocuments)} documents, ${formatCount(result.numUsable)} usable`,
    ],
    ['left out', left.join('\n')],
    ['longest choice', `right in ${(100 * result.longestChoice).toFixed(1)} % (chance 25 %)`],
    ['next', `continuo eval MODEL --tasks ${PROBE_TASKS.join(',')} --include-path ${result.out}`],
  ];
  return formatFacts(facts.filter(([, value]) => value !== '').map(([name, value]) => [paint.dim(name), value]));
}

function knowCommand(output: Output): Command {
  const command = declare(
    'know',
    'What a model knows of the facts that probes ask for: HighlyKnown, MaybeKnown, WeaklyKnown, Unknown (SliCK), and which facts moved since its base.',
    'continuo probes know runs/handbook/checkpoints/step-00000400 --probes probes --base data/base-en-8m',
  )
    .argument('<model>', 'a model folder, a GGUF file or a hub id')
    .requiredOption('--probes <folder>', 'what `continuo probes` made')
    .option('--base <model>', 'the model that it was trained from')
    .option('--number <n>', 'take the first so many probes (default: all)', positiveInteger)
    .option(
      '--prompts <n>',
      'prompts with other examples for each question (default: 4; the paper has 10)',
      positiveInteger,
    )
    .option('--samples <n>', 'answers drawn for each prompt (default: 4; the paper has 16)', positiveInteger)
    .option('--seed <n>', 'of the examples and of the draws', number, 0);
  return withOptions(command, 'threads', 'json', 'quiet').action(
    async (model: string, options: CommonOptions & KnowRequest & { prompts?: number; samples?: number }) => {
      const { measureKnowledge } = await import('../pipeline/index.ts');
      const { probes, base, number, seed, prompts: numPrompts, samples: numSamples } = options;
      const request = { probes, base, number, seed, numPrompts, numSamples };
      const result = await measureKnowledge(model, request, pipelineOptions(options, output));
      output.print(options.json ? json(result) : knowledgePage(result, output));
    },
  );
}

function knowledgePage({ model, base, moved }: KnowResult, { paint }: Output): string {
  const rows = [base, model].filter((one): one is SlickResult => one !== undefined);
  const columns = [{ title: 'model' }, ...KNOWLEDGE.map((title) => ({ title, align: 'right' as const }))];
  const parts = [
    formatTable(
      columns,
      rows.map((row) => [row.model, ...KNOWLEDGE.map((name) => String(row.counts[name]))]),
    ),
    paint.dim(
      `${model.items.length} facts; ${model.numPrompts} prompts of ${model.numExamples} examples, ${model.numSamples} samples each at temperature 0.5.`,
    ),
  ];
  if (moved) {
    const head = [{ title: 'before \\ after' }, ...KNOWLEDGE.map((title) => ({ title, align: 'right' as const }))];
    parts.push(
      '',
      formatTable(
        head,
        KNOWLEDGE.map((name, i) => [name, ...moved.transitions[i]!.map(String)]),
      ),
      '',
    );
    parts.push(...movedLines('learned', moved.learned), ...movedLines('forgotten', moved.forgotten));
  }
  return parts.join('\n');
}

function movedLines(title: string, facts: readonly MovedFact[]): string[] {
  const shown = facts
    .slice(0, MAX_SHOWN)
    .map(({ question, answer, before, after }) => `  ${before} -> ${after}: ${question} ${answer}`);
  const more = facts.length > MAX_SHOWN ? [`  and ${facts.length - MAX_SHOWN} more (--json lists all)`] : [];
  return [`${title}: ${facts.length}`, ...shown, ...more];
}
