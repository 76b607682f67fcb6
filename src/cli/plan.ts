import * as fs from 'node:fs';
import * as path from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ConfigError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import type { FindResult } from '../pipeline/index.ts';
import { diffPlans, explainDiff, type Plan, parseCluster, sketchBlend, sketchLr } from '../recipe/index.ts';
import { planFigure } from '../report/index.ts';
import {
  type CommonOptions,
  count,
  declare,
  EXIT_INTERRUPTED,
  Exit,
  json,
  pipelineOptions,
  strictOption,
  withOptions,
} from './command.ts';
import { refuse } from './lint.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

interface PlanOptions extends CommonOptions {
  diff?: string | true;
  on?: string;
  plot?: string | true;
  price?: number;
  strict?: boolean;
  findLr?: boolean;
  findMix?: boolean;
  probeLrs?: number[];
  probeShares?: number[];
  probeTokens?: number;
  tolerance?: number;
}

export function planCommand(output: Output): Command {
  const command = declare(
    'plan',
    'Show what a run would do: every number with its reason and source, every pitfall that applies, what it costs. Trains nothing, unless asked to find a learning rate or a blend by short probe runs.',
    [
      'continuo plan continuo.yaml --plot plan.svg',
      'continuo plan --diff runs/first',
      'continuo plan --on h100x8 --price 2.5',
      'continuo plan continuo.yaml --find-lr --probe-tokens 500k',
      'continuo plan continuo.yaml --find-mix --probe-shares 0.6,0.8,0.95 --tolerance 0.02',
    ].join('\n  '),
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .option(
      '--diff [plan]',
      "only what differs from a plan.json, or from the plan in a run folder (default: this run's own)",
    )
    .option('--plot [file]', 'LR and blend over the tokens, drawn here or into an .svg file')
    .option(
      '--on <gpus>',
      'plan for these GPUs instead of this machine: time, money, memory of each, whether it fits (h100x8, a100-40, ...)',
    )
    .addOption(
      new Option(
        '--price <dollars>',
        'US dollars an hour: of one of these GPUs, without --on of this machine (default for GPUs: a typical price)',
      ).argParser(dollars),
    )
    .addOption(strictOption());
  for (const option of probeOptions()) command.addOption(option);
  return withOptions(command, 'measure', 'threads', 'json', 'quiet', 'fresh').action(
    async (config: string, options: PlanOptions) => {
      if (options.findLr || options.findMix) return findByProbes(config, options, output);
      const stray = (['probeLrs', 'probeShares', 'probeTokens', 'tolerance'] as const).find((name) => name in options);
      if (stray) throw new ConfigError(`--${kebab(stray)}: belongs to --find-lr or --find-mix; give one of them.`);
      const { planRun, readPlan } = await import('../pipeline/index.ts');
      const { plan, text, folder } = await planRun(config, {
        ...pipelineOptions(options, output),
        on: options.on === undefined ? undefined : parseCluster(options.on),
        pricePerHour: options.price,
      });
      if (options.diff !== undefined) {
        const changes = diffPlans(readPlan(options.diff === true ? folder : options.diff), plan);
        output.print(options.json ? json(changes) : explainDiff(changes));
      } else if (options.plot !== undefined) plot(plan, options.plot, output);
      else output.print(options.json ? json(plan) : text);
      refuse(plan, options.strict);
    },
  );
}

function probeOptions(): Option[] {
  return [
    new Option('--find-lr', 'short runs at several peak LRs: recommends one').conflicts(['findMix', 'diff', 'plot']),
    new Option('--find-mix', 'short runs with several blends: recommends a domain share').conflicts(['diff', 'plot']),
    new Option('--probe-lrs <list>', 'peak LRs to try (default: 1/4 to 4 times the planned)').argParser(list),
    new Option('--probe-shares <list>', 'domain shares to try (default: 0.5,0.75,0.95)').argParser(list),
    new Option(
      '--probe-tokens <count>',
      'tokens a probe (default: a twentieth of the run, at least 50 steps)',
    ).argParser(count),
    new Option('--tolerance <share>', 'rise of the general loss that is taken (default: 0.01)').argParser(share),
  ];
}

async function findByProbes(config: string, options: PlanOptions, output: Output): Promise<void> {
  const { find, stoppedHint } = await import('../pipeline/index.ts');
  const { probeLrs: lrs, probeShares: shares, probeTokens: tokens, tolerance } = options;
  const request = { kind: options.findLr ? ('lr' as const) : ('mix' as const), lrs, shares, tokens, tolerance };
  const result = await find(config, request, pipelineOptions(options, output));
  if (!result.finished) {
    output.note(stoppedHint(options.fresh));
    throw new Exit(EXIT_INTERRUPTED);
  }
  output.print(options.json ? json(result.finding) : formatFinding(result));
}

function formatFinding({ table, text, file }: Extract<FindResult, { finished: true }>): string {
  const columns = table.titles.map((title, i) => ({ title, ...(i > 0 && { align: 'right' as const }) }));
  return [formatTable(columns, table.rows), 'Held-out bits per byte.', '', ...text, `Kept in ${file}.`].join('\n');
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** "1e-4,2e-4". */
function list(text: string): number[] {
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (values.some((value) => !(value > 0 && Number.isFinite(value))))
    throw new InvalidArgumentError('Expected numbers above 0 with commas between them, such as 1e-4,2e-4,4e-4.');
  return values;
}

function share(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value <= 1))
    throw new InvalidArgumentError('Expected a share from 0 to 1, such as 0.01.');
  return value;
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

function dollars(text: string): number {
  const value = Number(text.replace(/^\$/, ''));
  if (text.trim() === '' || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError('Expected US dollars an hour, such as 2.5.');
  return value;
}
