import type { Command } from 'commander';
import { formatBytes, formatCount } from '../base/units.ts';
import {
  type CommonOptions,
  collect,
  count,
  declare,
  json,
  pipelineOptions,
  positiveInteger,
  withOptions,
} from './command.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

interface EvalOptions extends CommonOptions {
  data?: string[];
  config?: string;
  seqLen?: number;
  tokens?: number;
  field?: string;
}

export function evalCommand(output: Output): Command {
  const command = declare(
    'eval',
    'Score a model on text: bits per byte (comparable between tokenizers) and perplexity.',
    'continuo eval runs/handbook/checkpoints/step-00000400 --data notes.md --data "articles/*.jsonl"',
  )
    .argument('<model>', 'a model folder, a GGUF file or a hub id')
    .option('--data <path>', 'text, Markdown, JSONL or Parquet to score; may be given several times', collect)
    .option('--config <file>', 'score on the held-out documents of this continuo.yaml instead')
    .option('--seq-len <n>', 'tokens of context', positiveInteger)
    .option('--tokens <count>', 'stop after this many tokens for each set', count)
    .option('--field <name>', 'field of JSONL and Parquet rows that holds the text');
  return withOptions(command, 'threads', 'json', 'quiet').action(async (model: string, options: EvalOptions) => {
    const { evaluate } = await import('../pipeline/index.ts');
    const { data = [], config: configFile, seqLen, tokens, field } = options;
    const table = await evaluate(model, { data, configFile, seqLen, tokens, field }, pipelineOptions(options, output));
    if (options.json) return output.print(json(table));
    output.print(
      formatTable(
        [
          { title: 'text' },
          { title: 'bits per byte', align: 'right' },
          { title: 'perplexity', align: 'right' },
          { title: 'tokens', align: 'right' },
          { title: 'size', align: 'right' },
          { title: 'documents', align: 'right' },
        ],
        table.rows.map((row) => [
          row.name,
          row.bitsPerByte.toFixed(4),
          row.perplexity.toPrecision(4),
          formatCount(row.numTokens),
          formatBytes(row.numBytes),
          String(row.numDocuments),
        ]),
      ),
    );
  });
}
