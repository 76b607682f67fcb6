import type { Command } from 'commander';
import { formatBytes, formatCount } from '../base/units.ts';
import type { SelectRequest, SelectResult } from '../pipeline/index.ts';
import {
  type CommonOptions,
  collect,
  count,
  declare,
  json,
  number,
  pipelineOptions,
  positiveInteger,
  withOptions,
} from './command.ts';
import type { Output } from './output.ts';
import { formatKnownFacts, formatLeftOut, formatTable } from './table.ts';

const MAX_ROWS = 20;
const NUM_WORDS = 5;

export function selectCommand(output: Output): Command {
  const command = declare(
    'select',
    'Select from a large corpus what a small target asks for, or what is most diverse; name and draw its topics.',
    'continuo data select --near handbook/ --from "web/*.jsonl.gz" --bytes 500M --out selected.jsonl --map topics.svg',
  )
    .requiredOption('--from <path>', 'the documents to select from; may be given several times', collect)
    .requiredOption('--out <file>', 'JSONL to write: id, text, source, cluster, topic, weight; a folder with --split')
    .option('--near <path>', 'the target: documents of the domain, or examples; may be given several times', collect)
    .option('--method <name>', 'crisp, dsir, nearest, k-centre, ifd (default: crisp, without a target k-centre)')
    .option('--model <model>', 'of ifd: the model that reads the conversations')
    .option('--documents <n>', 'documents to select', count)
    .option('--bytes <size>', 'text to select instead, such as 500M')
    .option('--clusters <k>', 'clusters (default: the root of the number of documents, at most 512)', positiveInteger)
    .option('--topics <n>', 'groups of clusters (default: 8)', positiveInteger)
    .option(
      '--repeats <n>',
      'crisp: times that a document may be written where there are too few (default: 1)',
      positiveInteger,
    )
    .option('--min-quality <x>', 'leave out documents whose metadata.quality is less', number)
    .option('--split <how>', 'topics: a file a topic, and the lines of continuo.yaml that blend them')
    .option('--map <file>', 'SVG to draw: documents as dots, near ones near each other, with the words of clusters')
    .option('--table <file>', 'JSON to write: clusters with shares, words, example and centroid')
    .option('--seed <n>', 'of all that is left to chance (default: 1)', number)
    .option('--field <name>', 'field of JSONL and Parquet rows that holds the text of a document')
    .option('--near-field <name>', 'the same for the target')
    .option('--max-bad-share <share>', 'go on where no more than this share cannot be read (default: 0.01)', number)
    .option('--force', 'overwrite files that exist');
  return withOptions(command, 'threads', 'json', 'quiet').action(async (options: CommonOptions & SelectRequest) => {
    const { select } = await import('../pipeline/index.ts');
    const result = await select(options, pipelineOptions(options, output));
    output.print(options.json ? json(result) : page(result, output));
  });
}

function page(result: SelectResult, { paint }: Output): string {
  const { likeness, diversity, quality, shortfall, unit } = result;
  const lines: [string, string | undefined][] = [
    [
      'selected',
      `${formatCount(result.numSelected)} of ${formatCount(result.numDocuments)} documents, ${formatBytes(result.numBytesSelected)} ` +
        `of ${formatBytes(result.numBytes)}, by ${result.method}, into ${result.out}`,
    ],
    ['repeated', result.numRepeated > 0 ? `${formatCount(result.numRepeated)} of these` : undefined],
    [
      'missing',
      shortfall >= 1
        ? `${unit === 'documents' ? `${formatCount(shortfall)} documents` : formatBytes(shortfall)}: there are no more that the target asks for`
        : undefined,
    ],
    [
      'target',
      likeness &&
        `${formatCount(result.numTargetDocuments)} documents; distance of topics ${likeness.corpusDistance.toFixed(3)} -> ` +
          `${likeness.selectedDistance.toFixed(3)}, of words ${likeness.corpusDivergence.toFixed(3)} -> ${likeness.selectedDivergence.toFixed(3)} nats`,
    ],
    [
      'diversity',
      `as of ${diversity.corpusClusters.toFixed(1)} -> ${diversity.selectedClusters.toFixed(1)} equal clusters`,
    ],
    ['quality', quality && `${quality.corpus.toFixed(3)} -> ${quality.selected.toFixed(3)} on average`],
    ['left out', leftOut(result)],
    ['map', result.mapFile],
    ['table', result.tableFile],
  ];
  const facts = formatKnownFacts(lines, paint);
  return `${facts}\n\n${clusterTable(result)}`;
}

function leftOut(result: SelectResult): string | undefined {
  return formatLeftOut([
    [result.numWithoutCluster, 'without a word that counts'],
    [result.numBelowQuality, 'of too little quality'],
    [result.numUndecided, 'without a question that helps with its answer'],
    [result.numBadRecords, 'that cannot be read'],
    [result.numEmptyDocuments, 'empty'],
  ]);
}

/** Clusters that the target has most of, or the largest. */
function clusterTable({ clusters }: SelectResult): string {
  const rows = clusters
    .toSorted((a, b) => (b.targetShare ?? b.corpusShare) - (a.targetShare ?? a.corpusShare) || a.cluster - b.cluster)
    .slice(0, MAX_ROWS);
  const percent = (share: number | undefined) => (share === undefined ? '' : (100 * share).toFixed(1));
  const table = formatTable(
    [
      { title: 'cluster', align: 'right' },
      { title: 'topic', align: 'right' },
      { title: 'corpus %', align: 'right' },
      { title: 'target %', align: 'right' },
      { title: 'selected %', align: 'right' },
      { title: 'ratio', align: 'right' },
      { title: 'words' },
    ],
    rows.map((row) => [
      String(row.cluster),
      String(row.topic),
      percent(row.corpusShare),
      percent(row.targetShare),
      percent(row.selectedShare),
      row.ratio?.toFixed(2) ?? '',
      row.words.slice(0, NUM_WORDS).join(' '),
    ]),
  );
  const numMore = clusters.length - rows.length;
  return numMore > 0 ? `${table}\n${numMore} more: --table clusters.json` : table;
}
