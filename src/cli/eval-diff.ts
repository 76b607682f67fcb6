import type { Command } from 'commander';
import { type CommonOptions, collect, declare, json, withOptions } from './command.ts';
import { printComparison } from './eval.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

interface EvalDiffOptions extends CommonOptions {
  metric?: string[];
  report?: string;
}

export function evalDiffCommand(output: Output): Command {
  const command = declare(
    'eval-diff',
    'Compare the answers of two models to the same tasks: what was learned, what was forgotten, and what can be told from chance.',
    'continuo eval-diff evals/base.json evals/tuned.json --report diff.html',
  )
    .argument(
      '<base>',
      'report of `continuo eval --tasks`, or output folder of lm-evaluation-harness (with --log_samples)',
    )
    .argument('<tuned...>', 'the same of the other model; of several, a table of models and tasks')
    .option('--metric <name>', "compare by this metric instead of a task's first; may be given several times", collect)
    .option('--report <file>', 'write a page with figures and examples: .html, or .md without figures');
  return withOptions(command, 'json', 'quiet').action(
    async (base: string, tuned: string[], options: EvalDiffOptions) => {
      const { readEvalResults } = await import('../eval/index.ts');
      const [first, ...others] = [base, ...tuned].map(readEvalResults);
      if (others.length === 1) return printComparison(first!, others[0]!, options, output);
      const { modelTable } = await import('../report/index.ts');
      const { table, note } = modelTable([first!, ...others].map((results) => ({ results })));
      if (options.json) return output.print(json(table));
      output.print(`${formatTable(table.columns, table.rows)}\n\n${note}`);
    },
  );
}
