// README.md of an exported folder: what it is, what to type, what is as planned and what is not.
import { formatCount } from '../base/units.ts';
import { formatLr } from '../recipe/index.ts';
import { describePhases } from './refuse.ts';
import type { Carried, Exported, ExportSource } from './types.ts';

const HOW: Record<Carried['how'], string> = { exact: 'exact', approximate: 'approximate', missing: '**missing**' };

/** A blend that moves has one for each stretch of steps. */
const MOST_PHASES = 8;

export function readmeOf({ plan, job, model }: ExportSource, exported: Exported): string {
  const { title, intro, files, commands, carried, warnings } = exported;
  const phases = describePhases(job);
  const lrs = [0, ...job.job.phases.slice(0, MOST_PHASES).map(({ firstStep, numSteps }) => firstStep + numSteps - 1)];
  const byHow = (['exact', 'approximate', 'missing'] as const).flatMap((how) => carried.filter((c) => c.how === how));
  return `${[
    `# ${plan.name}, for ${title}`,
    '',
    ...warnings.flatMap((warning) => [`> **${warning}**`, '']),
    intro,
    '',
    `Written by \`continuo export\`. Model: \`${model}\`. ${job.job.numSteps} steps of ${formatCount(plan.tokensPerStep)} tokens, ${formatCount(plan.totalTokens)} in all; recipe: ${plan.presetTitle}`,
    '',
    ...phases.slice(0, MOST_PHASES).map((line) => `- ${line}`),
    ...(phases.length > MOST_PHASES
      ? [`- and ${phases.length - MOST_PHASES} more: blends that move are stretches of steps`]
      : []),
    `- LR: ${lrs.map((step) => `${formatLr(job.lrAt(step))} at step ${step}`).join(', ')}`,
    '',
    '| file | what |',
    '|---|---|',
    ...files.map(({ file, what }) => `| \`${file}\` | ${what} |`),
    '| `export.json` | what was exported from which job, and which files are ours |',
    ...commands.flatMap(({ heading, text, lines }) => [
      '',
      `## ${heading}`,
      ...(text ? [text] : []),
      ...(lines.length > 0 ? ['```', ...lines, '```'] : []),
    ]),
    '',
    '## What is as planned',
    '| | | |',
    '|---|---|---|',
    ...byHow.map(({ what, how, note }) => `| ${what} | ${HOW[how]} | ${note} |`),
  ].join('\n')}\n`;
}
