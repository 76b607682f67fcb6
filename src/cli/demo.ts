import type { Command } from 'commander';
import { formatCount, formatSeconds } from '../base/units.ts';
import type { DemoSummary } from '../pipeline/index.ts';
import { type CommonOptions, declare, EXIT_INTERRUPTED, Exit, json, pipelineOptions, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

interface DemoOptions extends CommonOptions {
  folder?: string;
  short?: boolean;
}

export function demoCommand(output: Output): Command {
  const command = declare(
    'demo',
    'Continue the small base model that comes with continuo on new documents, naively and by the recipe, and compare. Offline, some minutes.',
    'continuo demo --folder runs/demo',
  )
    .option('--folder <folder>', 'where to put the runs', 'runs/demo')
    .option('--short', 'a few steps only: shows that everything works, its figures mean little');
  return withOptions(command, 'threads', 'fresh', 'json', 'quiet').action(async (options: DemoOptions) => {
    const { demo } = await import('../pipeline/index.ts');
    const result = await demo({ folder: options.folder, short: options.short, ...pipelineOptions(options, output) });
    if (options.json) output.print(json(result));
    else output.print(result.finished ? page(result.summary, result.report) : result.hint);
    if (!result.finished) throw new Exit(EXIT_INTERRUPTED);
  });
}

function page(summary: DemoSummary, report: string): string {
  const { base, naive, recipe, tasks } = summary;
  const change = (now: number, before: number) =>
    `${now.toFixed(4)} (${now >= before ? '+' : ''}${(100 * (now / before - 1)).toFixed(2)} %)`;
  const row = (label: string, run: typeof naive) => [
    label,
    change(run.domain, base.domain),
    change(run.general, base.general),
    formatCount(run.tokens),
    String(run.tokensPerSecond),
    formatSeconds(run.trainSeconds),
  ];
  const columns = ['domain', 'general', 'tokens', 'tokens/s', 'training'] as const;
  return [
    'Bits per byte on held-out documents (lower is better)',
    '',
    formatTable(
      [{ title: '' }, ...columns.map((title) => ({ title, align: 'right' as const }))],
      [['base', base.domain.toFixed(4), base.general.toFixed(4)], row('naive', naive), row('recipe', recipe)],
    ),
    '',
    'Right answers to the questions of the small suites, percent',
    '',
    formatTable(tasks.table.columns, tasks.table.rows),
    '',
    tasks.note,
    '',
    summary.short ? 'Shortened run: its figures only show that everything works.' : summary.verdict,
    `${formatSeconds(summary.seconds)} in all. Report: ${report}`,
  ].join('\n');
}
