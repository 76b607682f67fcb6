import { type Command, Option } from 'commander';
import { FRAMEWORKS, type Framework } from '../export/index.ts';
import { type CommonOptions, declare, json, pipelineOptions, strictOption, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatFacts, formatTable } from './table.ts';

export function exportCommand(output: Output): Command {
  const command = declare(
    'export',
    'Write a run for another framework: the data in the order of its steps, the LR of each, a configuration, and a README with the commands (docs/exporting.md).',
    'continuo export continuo.yaml --for trl --out for-trl',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .addOption(new Option('--for <framework>', 'what is to train it').choices([...FRAMEWORKS]).makeOptionMandatory())
    .requiredOption('--out <folder>', 'folder to write; one with an earlier export in it is replaced')
    .addOption(strictOption());
  return withOptions(command, 'threads', 'fresh', 'measure', 'json', 'quiet').action(
    async (config: string, options: CommonOptions & { for: Framework; out: string; strict?: boolean }) => {
      const { exportRun } = await import('../pipeline/index.ts');
      const { for: framework, out, strict } = options;
      const result = await exportRun(config, framework, out, { ...pipelineOptions(options, output), strict });
      if (options.json) return output.print(json(result));
      output.print(formatFacts(result.files.map(({ file, what }) => [file, what])));
      output.print('');
      output.print(
        formatTable(
          [{ title: 'of the plan' }, { title: '' }, { title: '' }],
          result.carried.map(({ what, how, note }) => [what, how, note]),
        ),
      );
      for (const warning of result.warnings) output.note(`warning: ${warning}`);
      output.note(`Written to ${result.folder}; its README.md has the commands.`);
    },
  );
}
