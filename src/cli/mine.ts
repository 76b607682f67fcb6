import type { Command } from 'commander';
import { formatBytes, formatCount } from '../base/units.ts';
import type { MineRequest, MineResult } from '../pipeline/index.ts';
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
import { formatKnownFacts, formatLeftOut } from './table.ts';

export function mineCommand(output: Output): Command {
  const command = declare(
    'mine',
    'Find the documents nearest to question and answer examples, so that training on them repeats the examples less.',
    'continuo mine --near qa.jsonl --from "web/*.jsonl.gz" --out mined.jsonl',
  )
    .requiredOption('--near <path>', 'the examples: JSONL, Parquet or text; may be given several times', collect)
    .requiredOption('--from <path>', 'the documents to search; may be given several times', collect)
    .requiredOption('--out <file>', 'JSONL to write: id, text, source, score and the id of the nearest example')
    .option('--top <n>', 'documents to take for each example at most (default: 50)', positiveInteger)
    .option('--min-score <cosine>', 'leave out what is less near, 0 to 1 (default: 0.03)', number)
    .option('--field <name>', 'field of JSONL and Parquet rows that holds the text of a document')
    .option('--near-field <name>', 'the same for the examples')
    .option('--max-bad-share <share>', 'go on where no more than this share cannot be read (default: 0.01)', number)
    .option('--force', 'overwrite the file if it exists');
  return withOptions(command, 'threads', 'json', 'quiet').action(async (options: CommonOptions & MineRequest) => {
    const { mine } = await import('../pipeline/index.ts');
    const result = await mine(options, pipelineOptions(options, output));
    if (options.json) return output.print(json(result));
    output.print(page(result, output));
  });
}

function page(result: MineResult, { paint }: Output): string {
  const { numQueries, numQueriesWithoutNeighbour, numNearSeveral, contaminated, scores } = result;
  const without =
    numQueriesWithoutNeighbour > 0
      ? `${formatCount(numQueriesWithoutNeighbour)} without a document of at least ${result.minScore}`
      : `each with a document of at least ${result.minScore}`;
  const lines: [string, string | undefined][] = [
    [
      'mined',
      `${formatCount(result.numMined)} of ${formatCount(result.numDocuments)} documents, ${formatBytes(result.numBytesMined)} of text, into ${result.out}`,
    ],
    ['cosine', scores && `${scores.highest.toFixed(3)} to ${scores.lowest.toFixed(3)}`],
    ['examples', `${formatCount(numQueries)}, ${without}`],
    ['shared', `${formatCount(numNearSeveral)} of the mined are among the nearest of several examples`],
    ['left out', leftOut(result)],
    [
      '',
      contaminated.examples
        .slice(0, 3)
        .map(({ document, query }) => paint.dim(`${document} holds ${query}`))
        .join('\n') || undefined,
    ],
    [
      'next',
      `in continuo.yaml: mined: { path: ${result.out}, role: instruction, weight: 1 } beside a weight for the examples (docs/recipe.md)`,
    ],
  ];
  return formatKnownFacts(lines, paint);
}

function leftOut({ contaminated, numCopies, numBadRecords, numEmptyDocuments }: MineResult): string | undefined {
  return formatLeftOut([
    [contaminated.numDocuments, 'that hold an example word for word'],
    [numCopies, 'copies'],
    [numBadRecords, 'that cannot be read'],
    [numEmptyDocuments, 'empty'],
  ]);
}
