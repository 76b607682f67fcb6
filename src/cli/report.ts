import type { Command } from 'commander';
import { writeReport } from '../report/index.ts';
import { type CommonOptions, declare, json, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatFacts } from './table.ts';

export function reportCommand(output: Output): Command {
  const command = declare(
    'report',
    'Write report.html and report.md of a run as it stands now, finished or not.',
    'continuo report runs/handbook',
  ).argument('<run>', 'a run folder');
  return withOptions(command, 'json').action((run: string, options: CommonOptions) => {
    const report = writeReport(run);
    output.print(
      options.json
        ? json(report)
        : formatFacts([
            ['result', output.paint.bold(report.headline)],
            ...(report.forecast ? [['forecast', report.forecast] as const] : []),
            ['page', report.html],
            ['text', report.md],
          ]),
    );
  });
}
