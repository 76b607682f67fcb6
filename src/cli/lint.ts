import type { Command } from 'commander';
import { explainChecks, type Plan } from '../recipe/index.ts';
import { type CommonOptions, declare, Exit, json, pipelineOptions, strictOption, withOptions } from './command.ts';
import type { Output } from './output.ts';

/** Findings that a run would not start with. */
export const EXIT_FINDINGS = 1;

/** @throws Exit where the plan has errors, or warnings that count as errors */
export function refuse({ warnings }: Pick<Plan, 'warnings'>, strict: boolean | undefined): void {
  const grave = warnings.some(({ severity }) => severity === 'error' || (strict && severity === 'warning'));
  if (grave) throw new Exit(EXIT_FINDINGS);
}

export function lintCommand(output: Output): Command {
  const command = declare(
    'lint',
    'Check a configuration for known ways to waste a run. Exits with 1 where a run would be refused.',
    'continuo lint continuo.yaml --strict',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .addOption(strictOption());
  return withOptions(command, 'measure', 'json', 'quiet').action(
    async (config: string, options: CommonOptions & { strict?: boolean }) => {
      const { planRun } = await import('../pipeline/index.ts');
      const { plan } = await planRun(config, pipelineOptions(options, output));
      output.print(options.json ? json(plan.warnings) : explainChecks(plan).join('\n'));
      refuse(plan, options.strict);
    },
  );
}
