import { type Command, Option } from 'commander';
import { formatSeconds } from '../base/units.ts';
import { LAUNCH_TARGETS, type LaunchTarget } from '../config/index.ts';
import { forecastText, headline, memoryText } from '../report/index.ts';
import { bestText, readRun, reportedForecast } from '../runs/index.ts';
import {
  type CommonOptions,
  declare,
  EXIT_INTERRUPTED,
  Exit,
  json,
  pipelineOptions,
  strictOption,
  withOptions,
} from './command.ts';
import type { Output } from './output.ts';
import { formatProfile } from './profile.ts';
import { formatFacts } from './table.ts';

export function runCommand(output: Output): Command {
  const command = declare(
    'run',
    'Do everything: read the corpora, plan, train, evaluate, report. Interrupted at any moment, the same command goes on where it was.',
    'continuo run continuo.yaml',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .addOption(strictOption())
    .addOption(
      new Option('--launch <where>', 'run the PyTorch engine elsewhere, and follow it (docs/launching.md)').choices([
        ...LAUNCH_TARGETS,
      ]),
    );
  return withOptions(command, 'threads', 'fresh', 'measure', 'profile', 'json', 'quiet').action(
    async (config: string, options: CommonOptions & { strict?: boolean; launch?: LaunchTarget }) => {
      const { run, stoppedHint } = await import('../pipeline/index.ts');
      const { strict, launch } = options;
      const result = await run(config, { ...pipelineOptions(options, output), strict, launch });
      const stopped = result.summary.status === 'stopped';
      if (options.json) output.print(json(result));
      else {
        const stages = result.stages.map(
          ({ name, reused, seconds }) => `${name} ${reused ? '(reused)' : formatSeconds(seconds)}`,
        );
        const finished = readRun(result.folder);
        const forecast = stopped ? undefined : forecastText(finished, reportedForecast(finished));
        output.print(
          formatFacts([
            ['result', output.paint.bold(headline(finished, result.summary))],
            ...(forecast ? [['forecast', forecast] as const] : []),
            ['stages', stages.join(', ')],
            ['peak memory', memoryText(result.summary) ?? 'not recorded'],
            ['checkpoint', result.checkpoint],
            ...(result.summary.best ? [['best checkpoint', bestText(result.summary)!] as const] : []),
            ['run', result.folder],
          ]),
        );
        if (result.profile) output.print(formatProfile(result.profile));
        if (stopped) output.note(stoppedHint(options.fresh));
      }
      if (stopped) throw new Exit(EXIT_INTERRUPTED);
    },
  );
}
