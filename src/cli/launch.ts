import { type Command, Option } from 'commander';
import { LAUNCH_TARGETS, type LaunchTarget } from '../config/index.ts';
import { declare, json, withOptions } from './command.ts';
import type { Output } from './output.ts';

export function launchCommand(output: Output): Command {
  const command = declare(
    'launch',
    'Show or write the file that starts a run elsewhere (Slurm, ssh, Kubernetes, Ray, SkyPilot); nothing is prepared or started. `continuo run --launch` does it all.',
    'continuo launch --to slurm --out job.sbatch',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .addOption(new Option('--to <where>', 'what the file is for').choices([...LAUNCH_TARGETS]).makeOptionMandatory())
    .option('--out <file>', 'write it there instead of printing it');
  return withOptions(command, 'json').action(
    async (config: string, { to, out, json: asJson }: { to: LaunchTarget; out?: string; json?: boolean }) => {
      const { writeLaunch } = await import('../pipeline/index.ts');
      const written = writeLaunch(config, to, out);
      if (asJson) return output.print(json(written));
      if (!written.file) output.print(written.text.trimEnd());
      output.note(
        `${written.file ? `Written to ${written.file}. ` : ''}When \`continuo run --launch ${to}\` has prepared the job, it starts with: ${written.command}`,
      );
    },
  );
}
