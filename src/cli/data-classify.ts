import type { Command } from 'commander';
import { formatCount } from '../base/units.ts';
import type { ClassifyOptions, ClassifySummary } from '../corpus/index.ts';
import { type CommonOptions, collect, declare, json, number, positiveInteger, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatKnownFacts } from './table.ts';

export function classifyCommand(output: Output): Command {
  const command = declare(
    'classify',
    'Train a quality classifier on good and bad documents, for the step `quality` of clean.',
    'continuo data classify --good textbooks/ --bad "crawl/*.jsonl.gz" --out quality.json',
  )
    .option('--good <path>', 'documents to want more of; may be given several times', collect)
    .option('--bad <path>', 'documents to leave out; may be given several times', collect)
    .option(
      '--labelled <path>',
      'or records with a label (good or bad, 1 or 0, ...); may be given several times',
      collect,
    )
    .option('--label <name>', 'their field with the label (default: label)')
    .requiredOption('--out <file>', 'the model to write, one JSON file')
    .option('--field <name>', 'field of JSONL, CSV and Parquet rows that holds the text')
    .option('--max-documents <n>', 'documents of each kind at most (default: 10000)', positiveInteger)
    .option('--seed <n>', 'order of training (default: 1)', number)
    .option('--max-bad-share <share>', 'go on where no more than this share cannot be read (default: 0.01)', number);
  return withOptions(command, 'json').action(async (options: CommonOptions & ClassifyOptions) => {
    const { classifyQuality } = await import('../corpus/index.ts');
    const summary = await classifyQuality(options);
    if (options.json) {
      const { model, ...counts } = summary;
      return output.print(json({ out: options.out, ...counts, report: model.report }));
    }
    output.print(page(summary, options.out, output));
  });
}

function page(
  { model, numGood, numBad, numCopies, numInBoth }: ClassifySummary,
  out: string,
  { paint }: Output,
): string {
  const { numTrained, accuracy, auc, calibrationError, limits, numGood: goodHeld, numBad: badHeld } = model.report;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const leftOut = [
    numCopies > 0 ? `${formatCount(numCopies)} copies` : undefined,
    numInBoth > 0 ? `${formatCount(numInBoth)} that are among the good and the bad` : undefined,
  ].filter((part) => part !== undefined);
  const lines: [string, string | undefined][] = [
    [
      'model',
      `${out}, trained on ${formatCount(numTrained)} of ${formatCount(numGood)} good and ${formatCount(numBad)} bad documents`,
    ],
    ['left out', leftOut.join(', ') || undefined],
    [
      'held out',
      `${formatCount(goodHeld)} good, ${formatCount(badHeld)} bad: ${percent(accuracy)} right at 0.5, AUC ${auc.toFixed(4)}, calibration off by ${calibrationError.toFixed(3)}`,
    ],
    [
      'min',
      limits
        .map(
          ({ min, goodKept, badKept }) =>
            `${min} keeps ${percent(goodKept)} of the good, ${percent(badKept)} of the bad`,
        )
        .join('\n'),
    ],
    ['next', `in continuo.yaml, of a corpus: clean: [web, { quality: { model: ${out}, min: 0.5 } }]`],
  ];
  return formatKnownFacts(lines, paint);
}
