import type { Command } from 'commander';
import { type CommonOptions, declare, json, pipelineOptions, withOptions } from './command.ts';
import type { Output } from './output.ts';

export function planCommand(output: Output): Command {
  const command = declare(
    'plan',
    'Show what a run would do: every number with its reason and source, and every pitfall that applies. Trains nothing.',
    'continuo plan continuo.yaml',
  ).argument('[config]', 'the configuration', 'continuo.yaml');
  return withOptions(command, 'json', 'quiet', 'fresh').action(async (config: string, options: CommonOptions) => {
    const { planRun } = await import('../pipeline/index.ts');
    const { plan, text } = await planRun(config, pipelineOptions(options, output));
    output.print(options.json ? json(plan) : text);
  });
}
