import { type Command, InvalidArgumentError, Option } from 'commander';
import { formatBytes, formatCount } from '../base/units.ts';
import type {
  CleanRequest,
  CleanResult,
  Looked,
  LookRequest,
  SeenDocument,
  VerifiedFolder,
} from '../pipeline/index.ts';
import { describeEffects } from '../report/index.ts';
import {
  type CommonOptions,
  collect,
  declare,
  Exit,
  json,
  pipelineOptions,
  positiveInteger,
  withOptions,
} from './command.ts';
import { classifyCommand } from './data-classify.ts';
import { mixtureCommand } from './data-mixture.ts';
import { selectCommand } from './data-select.ts';
import type { Output } from './output.ts';
import { formatFacts, formatTable } from './table.ts';

const EXIT_DAMAGED = 3;
const SHOWN_CHARS = 1500;
const MAX_EFFECTS = 4;

export function dataCommand(output: Output): Command {
  const command = declare('data', 'Clean, select, look at and verify corpora.', 'continuo data clean continuo.yaml');
  for (const make of [cleanCommand, classifyCommand, lookCommand, mixtureCommand, selectCommand, verifyCommand])
    command.addCommand(make(output));
  return command;
}

function cleanCommand(output: Output): Command {
  const command = declare(
    'clean',
    'Clean the corpora of a configuration that have steps (corpora.NAME.clean), and say what went and why. `continuo run` does the same before it trains.',
    'continuo data clean continuo.yaml --part "$SLURM_ARRAY_TASK_ID/8" && continuo data clean continuo.yaml',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .option('--corpus <name>', 'only this one; may be given several times', collect)
    .option(
      '--part <i/n>',
      'do the i-th of n shares (i from 0) of the parts alone; afterwards the command without it brings all together',
      shareOf,
    )
    .addOption(
      new Option(
        '--on <address>',
        'have a Ray cluster do the parts: auto, HOST:PORT or ray://HOST:PORT, as Ray takes it; its machines share the folders',
      )
        .argParser(rayAddress)
        .conflicts('part'),
    );
  command.option('--plot <folder>', 'draw what each step kept and removed: NAME.svg for each corpus');
  return withOptions(command, 'threads', 'fresh', 'json', 'quiet').action(
    async (
      configFile: string,
      options: CommonOptions & { corpus?: string[]; part?: CleanRequest['share']; on?: string; plot?: string },
    ) => {
      const { cleanData, plotCleaning } = await import('../pipeline/index.ts');
      const result = await cleanData(
        { configFile, corpora: options.corpus, share: options.part, ray: options.on },
        pipelineOptions(options, output),
      );
      const pictures = options.plot ? plotCleaning(result.corpora, options.plot) : [];
      output.print(options.json ? json(result) : cleanPage(result, output));
      if (pictures.length > 0) output.note(`pictures: ${pictures.join(', ')}`);
    },
  );
}

function shareOf(text: string): CleanRequest['share'] {
  const [, index, count] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  if (count === undefined || Number(index) >= Number(count))
    throw new InvalidArgumentError('Expected i/n with i from 0 to n - 1, such as 0/8.');
  return { index: Number(index), count: Number(count) };
}

/** What ray.init takes; ray://auto is what somebody writes who knows the other form alone. */
function rayAddress(text: string): string {
  const address = text === 'ray://auto' ? 'auto' : text;
  if (address === 'auto' || /^(ray:\/\/)?([\w.-]+|\[[\da-f:]+\]):\d+$/i.test(address)) return address;
  throw new InvalidArgumentError('Expected auto, HOST:PORT or ray://HOST:PORT, such as ray://head.cluster:10001.');
}

function cleanPage({ corpora, shared }: CleanResult, { paint }: Output): string {
  const pages = corpora.map(({ folder, reused, manifest }) => {
    const { name, given, kept, steps, read } = manifest;
    const rows = steps.map((step) => [
      step.name,
      formatCount(step.removed.numDocuments),
      formatBytes(step.removed.numBytes),
      formatCount(step.changed.numDocuments),
      formatBytes(step.changed.numBytes),
      describeEffects(step, MAX_EFFECTS),
    ]);
    return [
      `${paint.bold(name)}: ${formatCount(kept.numDocuments)} of ${formatCount(given.numDocuments)} documents, ${formatBytes(kept.numBytes)} of ${formatBytes(given.numBytes)} of text, stay${reused ? ' (done before)' : ''}`,
      formatTable(
        [
          { title: 'step' },
          { title: 'removed', align: 'right' },
          { title: 'bytes', align: 'right' },
          { title: 'changed', align: 'right' },
          { title: 'bytes', align: 'right' },
          { title: 'what' },
        ],
        rows,
      ),
      formatFacts([
        ...(read.numBadRecords + read.numEmptyDocuments > 0
          ? [
              [
                'not read',
                `${formatCount(read.numBadRecords)} bad records, ${formatCount(read.numEmptyDocuments)} empty documents`,
              ] as const,
            ]
          : []),
        ['folder', folder],
      ]),
    ].join('\n');
  });
  const work = shared.map(
    ({ name, numDone, numParts, folder }) =>
      `${paint.bold(name)}: ${numDone} of ${numParts} parts are this share, and done (${folder})`,
  );
  return [...pages, ...work].join('\n\n');
}

function lookCommand(output: Output): Command {
  const command = declare(
    'look',
    'Show documents: random ones, the best or worst, what cleaning removed; or the packed sequences of a run, with their boundaries.',
    'continuo data look runs/handbook --model HuggingFaceTB/SmolLM2-135M',
  )
    .argument('<from>', 'files, a folder or glob; a folder of cleaned documents; a run folder')
    .option('--num <n>', 'how many (default: 3)', positiveInteger, 3)
    .option('--seed <n>', 'of the random choice (default: 0)', Number, 0)
    .option('--best', 'those of the highest value instead')
    .option('--worst', 'those of the lowest value instead')
    .option('--by <name>', 'the metadata that best and worst go by (default: quality)', 'quality')
    .option('--removed [what]', 'what cleaning removed, of all steps or of one step or reason')
    .option('--field <name>', 'field of the records that holds the text')
    .option('--step <n>', 'of a run: from this step on (default: 0)', Number, 0)
    .option('--model <model>', 'show the tokens that this model reads');
  return withOptions(command, 'json').action(
    async (
      from: string,
      options: CommonOptions & Omit<LookRequest, 'from' | 'order'> & { best?: boolean; worst?: boolean },
    ) => {
      const { lookAt } = await import('../pipeline/index.ts');
      const order = options.best ? 'best' : options.worst ? 'worst' : 'random';
      const looked = await lookAt({ ...options, from, order }, pipelineOptions(options, output));
      output.print(options.json ? json(looked) : lookPage(looked, output));
    },
  );
}

function lookPage(looked: Looked, { paint }: Output): string {
  if (looked.kind === 'sequences')
    return looked.sequences
      .map(({ step, index, segments, numPadding }) =>
        [
          paint.bold(
            `step ${step}, sequence ${index}: ${segments.length} documents or parts of them${numPadding > 0 ? `, ${numPadding} tokens of padding` : ''}`,
          ),
          ...segments.map(({ corpus, numTokens, runs }) => {
            const silent = runs.reduce((sum, run) => sum + (run.bearsLoss ? 0 : run.numTokens), 0);
            const text = runs.map((run) => (run.bearsLoss ? run.text : paint.dim(run.text))).join('');
            return `${paint.green(`[${corpus}, ${numTokens} tokens${silent > 0 ? `, ${silent} without loss` : ''}]`)} ${text}`;
          }),
        ].join('\n'),
      )
      .join('\n\n');
  return looked.documents
    .map(({ id, text, tokens, metadata, removed }) => {
      const shown = tokens ? tokens.join(paint.dim('|')) : text;
      const why = removed ? [whyRemoved(removed)] : [];
      const facts = metadata ? [paint.dim(JSON.stringify(metadata))] : [];
      const size = tokens ? `, ${formatCount(tokens.length)} tokens` : '';
      return [
        paint.bold(`${id} (${formatCount(text.length)} characters${size})`),
        ...why.map(paint.yellow),
        ...facts,
        shown.length > SHOWN_CHARS ? `${shown.slice(0, SHOWN_CHARS)}${paint.dim(' ...')}` : shown,
      ].join('\n');
    })
    .join('\n\n');
}

function whyRemoved({ step, reason, value, limit, evidence, copyOf }: NonNullable<SeenDocument['removed']>): string {
  const measured =
    value === undefined ? '' : ` (${Number(value.toPrecision(4))}${limit === undefined ? '' : `, limit ${limit}`})`;
  return `removed by ${step}: ${reason}${measured}${copyOf ? `, of ${copyOf}` : ''}${evidence ? `: ${evidence}` : ''}`;
}

function verifyCommand(output: Output): Command {
  const command = declare(
    'verify',
    'Compare every prepared file with the digest that was recorded when it was written.',
    'continuo data verify .',
  ).argument('[folder]', 'a project, its cache, or one folder of the cache', '.');
  return withOptions(command, 'json', 'quiet').action(async (folder: string, options: CommonOptions) => {
    const { verifyData } = await import('../pipeline/index.ts');
    const verified = verifyData(folder, pipelineOptions(options, output));
    output.print(options.json ? json(verified) : verifyPage(verified, output));
    if (verified.some(({ problems }) => problems.length > 0)) throw new Exit(EXIT_DAMAGED);
  });
}

function verifyPage(verified: readonly VerifiedFolder[], { paint }: Output): string {
  const rows = verified.map(({ name, stage, numFiles, numBytes, problems }) => [
    name,
    stage === 'curated' ? 'cleaned documents' : 'shards',
    formatCount(numFiles),
    formatBytes(numBytes),
    problems.length === 0 ? 'as written' : `${problems.length} damaged`,
  ]);
  const problems = verified.flatMap((one) => one.problems.map(({ file, problem }) => paint.red(`${file} ${problem}`)));
  return [
    formatTable(
      [
        { title: 'corpus' },
        { title: 'stage' },
        { title: 'files', align: 'right' },
        { title: 'bytes', align: 'right' },
        { title: '' },
      ],
      rows,
    ),
    ...problems,
    ...(problems.length > 0 ? ['Remove the folders of damaged files: the next run makes them again.'] : []),
  ].join('\n');
}
