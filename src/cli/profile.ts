// Where the time of a training step went, as a table.
import type { StepProfile } from '../engine/index.ts';
import { formatTable } from './table.ts';

/** Where the time of a step went: a table by what was computed, and a line by the stages of the step. */
export function formatProfile({ steps, tokensPerStep, msPerStep, parts, phases }: StepProfile): string {
  const ms = (x: number) => x.toFixed(x < 10 ? 2 : x < 100 ? 1 : 0);
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  const rows = parts.map(({ part, msPerStep: time, share, callsPerStep, gflopsPerSecond }) => [
    part,
    percent(share),
    ms(time),
    callsPerStep > 0 ? String(Math.round(callsPerStep)) : '',
    gflopsPerSecond === undefined ? '' : `${gflopsPerSecond.toFixed(0)} GFLOP/s`,
  ]);
  const traced = steps.length === 1 ? `step ${steps[0]}` : `steps ${steps[0]} to ${steps.at(-1)}`;
  return [
    `Profile of ${traced}: ${ms(msPerStep)} ms a step, ${Math.round((tokensPerStep / msPerStep) * 1000)} tokens/s`,
    formatTable(
      [
        { title: 'part' },
        { title: 'share', align: 'right' },
        { title: 'ms a step', align: 'right' },
        { title: 'calls', align: 'right' },
        { title: 'speed', align: 'right' },
      ],
      rows,
    ),
    `By stage: ${phases.map(({ part, share }) => `${part} ${percent(share)}`).join(', ')}`,
  ].join('\n');
}
