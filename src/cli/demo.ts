import type { Command } from 'commander';
import { type CommonOptions, declare, EXIT_INTERRUPTED, Exit, json, pipelineOptions, withOptions } from './command.ts';
import type { Output } from './output.ts';

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
    output.print(options.json ? json(result) : result.text);
    if (!result.finished) throw new Exit(EXIT_INTERRUPTED);
  });
}
