import type { Command } from 'commander';
import { ConfigError } from '../base/errors.ts';
import { readText } from '../base/files.ts';
import type { GenerationSummary } from '../eval/index.ts';
import { type CommonOptions, declare, json, pipelineOptions, positiveInteger, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

interface EvalWritingOptions extends CommonOptions {
  base?: string;
  prompts?: string;
  maxTokens: number;
  show?: boolean;
}

export function evalWritingCommand(output: Output): Command {
  const command = declare(
    'eval-writing',
    'Let a model write on fixed prompts and look for signs of degeneration: loops, answers without an end, empty ones, a change of language.',
    'continuo eval-writing runs/handbook/checkpoints/step-00000400 --base HuggingFaceTB/SmolLM2-135M',
  )
    .argument('<model>', 'a model folder, a GGUF file or a hub id')
    .option('--base <model>', 'the model that it comes from: writes on the same prompts, and scores what both write')
    .option('--prompts <file>', 'prompts of your own, one a line, instead of the sixteen that come with it')
    .option('--max-tokens <n>', 'tokens an answer, at most', positiveInteger, 128)
    .option('--show', 'print what was written, too');
  return withOptions(command, 'threads', 'json', 'quiet').action(async (model: string, options: EvalWritingOptions) => {
    const { inspectWriting } = await import('../pipeline/index.ts');
    const { base, maxTokens } = options;
    const prompts = options.prompts === undefined ? undefined : readPrompts(options.prompts);
    const result = await inspectWriting(model, { base, prompts, maxTokens }, pipelineOptions(options, output));
    if (options.json) return output.print(json(result));
    const titles = ['answers', 'distinct-2', 'repeated', 'looping', 'endless', 'empty', 'language left', 'perplexity'];
    const shown = [...(result.base ? [result.base] : []), result.model];
    output.print(
      formatTable(
        [{ title: 'model' }, ...titles.map((title) => ({ title, align: 'right' as const }))],
        shown.map((summary) => [summary.model, ...figures(summary)]),
      ),
    );
    if (options.show)
      for (const { model: name, generations } of shown)
        for (const { prompt, text } of generations) output.print(`\n${output.paint.dim(`${name}: ${prompt}`)}${text}`);
    const none = base ? 'No sign that the answers are worse than the base writes.' : 'No sign of degeneration.';
    output.print(`\n${result.warnings.length > 0 ? result.warnings.join('\n') : none}`);
  });
}

function readPrompts(file: string): string[] {
  const prompts = readText(file)
    .split('\n')
    .filter((line) => line.trim() !== '');
  if (prompts.length === 0) throw new ConfigError(`${file}: expected prompts, one a line; found none.`);
  return prompts;
}

function figures(summary: GenerationSummary): string[] {
  const percent = (share: number | undefined) => (share === undefined ? 'unknown' : `${(100 * share).toFixed(0)} %`);
  const { numAnswers, distinct2, repeated, looping, endless, empty, drifting, basePerplexity } = summary;
  return [
    String(numAnswers),
    distinct2.toFixed(2),
    percent(repeated),
    percent(looping),
    percent(endless),
    percent(empty),
    percent(drifting),
    basePerplexity === undefined ? 'unknown' : basePerplexity.toPrecision(3),
  ];
}
