import * as fs from 'node:fs';
import * as path from 'node:path';
import type { Command } from 'commander';
import { writeFileAtomic } from '../base/files.ts';
import { diffPlans, explainDiff, type Plan, sketchBlend, sketchLr } from '../recipe/index.ts';
import { planFigure } from '../report/index.ts';
import { type CommonOptions, declare, json, pipelineOptions, strictOption, withOptions } from './command.ts';
import { refuse } from './lint.ts';
import type { Output } from './output.ts';

interface PlanOptions extends CommonOptions {
  diff?: string | true;
  plot?: string | true;
  strict?: boolean;
}

export function planCommand(output: Output): Command {
  const command = declare(
    'plan',
    'Show what a run would do: every number with its reason and source, and every pitfall that applies. Trains nothing.',
    'continuo plan continuo.yaml --plot plan.svg\n  continuo plan --diff runs/first',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .option(
      '--diff [plan]',
      "only what differs from a plan.json, or from the plan in a run folder (default: this run's own)",
    )
    .option('--plot [file]', 'LR and blend over the tokens, drawn here or into an .svg file')
    .addOption(strictOption());
  return withOptions(command, 'json', 'quiet', 'fresh').action(async (config: string, options: PlanOptions) => {
    const { planRun, readPlan } = await import('../pipeline/index.ts');
    const { plan, text, folder } = await planRun(config, pipelineOptions(options, output));
    if (options.diff !== undefined) {
      const changes = diffPlans(readPlan(options.diff === true ? folder : options.diff), plan);
      output.print(options.json ? json(changes) : explainDiff(changes));
    } else if (options.plot !== undefined) plot(plan, options.plot, output);
    else output.print(options.json ? json(plan) : text);
    refuse(plan, options.strict);
  });
}

function plot(plan: Plan, file: string | true, output: Output): void {
  if (file === true) {
    output.print([...sketchLr(plan), '', ...sketchBlend(plan)].join('\n'));
    return;
  }
  const target = path.resolve(file);
  fs.mkdirSync(path.dirname(target), { recursive: true });
  writeFileAtomic(target, planFigure(plan));
  output.print(`written: ${target}`);
}
