import type { Command } from 'commander';
import { memoryText } from '../report/index.ts';
import { type CommonOptions, declare, EXIT_INTERRUPTED, Exit, json, pipelineOptions, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatProfile } from './profile.ts';

export function trainCommand(output: Output): Command {
  const command = declare(
    'train',
    'Execute a compiled job (a run folder, or the job folder in it) with the engine alone; goes on from its newest checkpoint.',
    'continuo train runs/handbook',
  ).argument('<folder>', 'a run folder or a job folder');
  return withOptions(command, 'threads', 'profile', 'json', 'quiet').action(
    async (folder: string, options: CommonOptions) => {
      const { trainJob } = await import('../pipeline/index.ts');
      const result = await trainJob(folder, pipelineOptions(options, output));
      const stopped = result.summary.status === 'stopped';
      output.print(
        options.json
          ? json(result)
          : `${stopped ? 'Stopped; the same command goes on. ' : ''}Checkpoint: ${result.checkpoint}`,
      );
      const memory = memoryText(result.summary);
      if (memory && !options.json) output.print(`Peak memory: ${memory}`);
      if (result.profile && !options.json) output.print(formatProfile(result.profile));
      if (stopped) throw new Exit(EXIT_INTERRUPTED);
    },
  );
}
