import type { Command } from 'commander';
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

interface EvalLossOptions extends CommonOptions {
  data?: string[];
  config?: string;
  base?: string;
  seqLen?: number;
  tokens: number;
  field?: string;
  html?: string;
  text?: boolean;
}

export function evalLossCommand(output: Output): Command {
  const command = declare(
    'eval-loss',
    'Show where the loss of a model lies, alone or beside its base: by corpus, source, kind of token, frequency and context, and as coloured text.',
    'continuo eval-loss runs/handbook/checkpoints/step-00000400 --base data/base-en-8m --data notes.md --html loss.html',
  )
    .argument('<model>', 'a model folder, a GGUF file or a hub id')
    .option('--base <model>', 'compare with this model, token by token')
    .option('--data <path>', 'text, Markdown, JSONL or Parquet to score; may be given several times', collect)
    .option('--config <file>', 'score the held-out documents of this continuo.yaml instead')
    .option('--tokens <count>', 'tokens of each corpus, about, from the beginnings of its documents', count, 20_000)
    .option('--seq-len <n>', 'tokens of context', positiveInteger)
    .option('--field <name>', 'field of JSONL and Parquet rows that holds the text')
    .option('--html <file>', 'write a page with the text, coloured token by token')
    .option('--text', 'print the text, coloured token by token');
  return withOptions(command, 'threads', 'json', 'quiet').action(async (model: string, options: EvalLossOptions) => {
    const { tokenLosses } = await import('../pipeline/index.ts');
    const { lossTable, tokenText, writeTokenLossPage } = await import('../report/index.ts');
    const { data = [], config: configFile, base, seqLen, tokens, field, html, text } = options;
    const request = { data, configFile, base, seqLen, tokens, field, alternatives: html !== undefined };
    const losses = await tokenLosses(model, request, pipelineOptions(options, output));
    if (html) writeTokenLossPage(html, losses);
    if (options.json) return output.print(json({ ...losses, documents: undefined }));
    if (text)
      for (const { corpus, source, pieces } of losses.documents)
        output.print(`${output.paint.bold(source ?? corpus)}\n${tokenText(pieces, output.paint.bold('x') !== 'x')}\n`);
    for (const table of losses.tables) {
      const { columns, rows } = lossTable(table);
      output.print(`${formatTable(columns, rows)}\n`);
    }
    if (html && !options.quiet) output.note(`written: ${html}`);
  });
}
