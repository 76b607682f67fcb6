import { type Command, Option } from 'commander';
import { ConfigError } from '../base/errors.ts';
import type { DoremiRequest, MixOfProbes, MixOfProxy, MixRequest } from '../pipeline/index.ts';
import {
  type CommonOptions,
  count,
  declare,
  json,
  number,
  pipelineOptions,
  positiveInteger,
  withOptions,
} from './command.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

type MixOptions = CommonOptions &
  Omit<MixRequest & DoremiRequest, 'tokens'> & { method: 'regmix' | 'doremi'; probeTokens?: number };

export function mixCommand(output: Output): Command {
  const command = declare(
    'mix',
    'Find shares of the corpora by short runs: with drawn mixtures and a regression (RegMix: the lowest domain loss whose general loss keeps within the tolerance), or by a proxy that catches up with a reference where it is behind (DoReMi).',
    'continuo mix continuo.yaml --probes 16 --probe-tokens 500k\n  continuo mix continuo.yaml --method doremi',
  )
    .argument('[config]', 'the configuration', 'continuo.yaml')
    .addOption(new Option('--method <name>', 'how').choices(['regmix', 'doremi']).default('regmix'))
    .option('--probes <n>', 'regmix: short runs (default: four times the corpora, and four)', count)
    .option('--rounds <n>', 'doremi: references with a proxy each (default: 1)', positiveInteger)
    .option('--probe-tokens <n>', 'tokens of each run (default: a twentieth of the run)', count)
    .option(
      '--tolerance <x>',
      'largest rise of the general loss, as a share; doremi only says when it is passed (default: 0.01)',
      number,
    );
  return withOptions(command, 'threads', 'json', 'quiet').action(async (config: string, options: MixOptions) => {
    const { mixByDoremi, mixByProbes, stoppedHint } = await import('../pipeline/index.ts');
    const { method, probes, rounds, probeTokens: tokens, tolerance } = options;
    const alien = method === 'regmix' ? rounds && '--rounds' : probes && '--probes';
    if (alien) throw new ConfigError(`${alien}: --method ${method} has no use for it. Take it out.`);
    const common = pipelineOptions(options, output);
    const result =
      method === 'regmix'
        ? await mixByProbes(config, { probes, tokens, tolerance }, common)
        : await mixByDoremi(config, { rounds, tokens, tolerance }, common);
    if (!result.finished) return output.print(stoppedHint(false));
    output.print(options.json ? json(result) : page(result));
  });
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

function page(result: MixOfProbes | MixOfProxy): string {
  const blend = result.corpora.map(({ name, found }) => `${name}: ${found.toFixed(4)}`).join(', ');
  return [
    ...(result.method === 'regmix' ? ofProbes(result) : ofProxy(result)),
    `In continuo.yaml:\nrecipe: { preset: custom, phases: [{ blend: { ${blend} } }] }`,
  ].join('\n\n');
}

const table = (titles: readonly string[], rows: readonly string[][]) =>
  formatTable(
    titles.map((title, i) => (i === 0 ? { title } : { title, align: 'right' as const })),
    rows,
  );

function ofProbes({ corpora, sets, numProbes, numSteps }: MixOfProbes): string[] {
  return [
    table(
      ['corpus', 'planned', 'found'],
      corpora.map(({ name, planned, found }) => [name, percent(planned), percent(found)]),
    ),
    table(
      ['bits per byte', 'base', 'expected, planned', 'expected, found', 'rank correlation'],
      sets.map(({ name, base, planned, found, rankCorrelation }) => [
        ...[name, base.toFixed(4), planned.toFixed(4), found.toFixed(4), rankCorrelation.toFixed(2)],
      ]),
    ),
    `From ${numProbes} probes of ${numSteps} steps. The rank correlation is that of each probe's score with what a regression without it expects: below about 0.5 the shares found are no better than the planned ones.`,
  ];
}

function ofProxy({ corpora, sets, numRounds, numSteps, converged, exceeds }: MixOfProxy): string[] {
  return [
    table(
      ['corpus', 'planned', 'found', 'excess at the end'],
      corpora.map(({ name, planned, found, excess }) => [
        ...[name, percent(planned), percent(found), excess === undefined ? 'not drawn' : `${excess.toFixed(3)} nats`],
      ]),
    ),
    table(
      ['bits per byte', 'base', 'measured, planned', 'measured, found'],
      sets.map(({ name, base, planned, found }) => [name, base.toFixed(4), planned.toFixed(4), found.toFixed(4)]),
    ),
    [
      `From ${numRounds} ${numRounds === 1 ? 'round' : 'rounds'} of ${numSteps} steps${converged ? '; the last one moved no share by more than 0.1 %' : ''}. Shares are the mean over the second half of a proxy, which gave most to what it was behind its reference in, token by token.`,
      'They are meant to leave no corpus behind, general text being one of them; no held-out text was looked at to find them, and in short runs they lie near the planned ones.',
      ...(exceeds === undefined
        ? []
        : [
            `With the shares found the general loss rises above the tolerance of ${percent(exceeds)}: raise the share of general text, or take --method regmix, which keeps within it.`,
          ]),
    ].join(' '),
  ];
}
