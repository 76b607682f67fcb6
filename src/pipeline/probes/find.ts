// `continuo plan --find-lr` and `--find-mix`: what shall be tried, what it costs, the series, and the finding in its file.
import { ConfigError } from '../../base/errors.ts';
import { formatCount, formatSeconds } from '../../base/units.ts';
import {
  checkMixable,
  DEFAULT_PROBE_SHARES,
  DEFAULT_TOLERANCE,
  explainFinding,
  FORWARD_SHARE,
  findDomainShare,
  findPeakLr,
  formatLr,
  formatShare,
  type LrFinding,
  lrGrid,
  type MixFinding,
  type Plan,
  probePlan,
  probeSteps,
  probeTable,
  probeTokens,
} from '../../recipe/index.ts';
import { refuseErrors } from '../run.ts';
import { type Prepared, prepare } from '../stages.ts';
import type { PipelineOptions } from '../types.ts';
import { runSeries } from './series.ts';
import { writeFinding } from './store.ts';

export interface FindRequest {
  kind: 'lr' | 'mix';
  /** Peak LRs to try; by default five around the planned one. */
  lrs?: number[];
  /** Domain shares to try. */
  shares?: number[];
  /** Tokens a probe. */
  tokens?: number;
  /** Largest rise of the general loss, as a share of the base's. */
  tolerance?: number;
}

export type FindResult =
  | {
      finished: true;
      finding: LrFinding | MixFinding;
      /** Where it is kept. */
      file: string;
      table: ReturnType<typeof probeTable>;
      /** What follows from it, a sentence each. */
      text: string[];
    }
  /** Interrupted; the same command goes on. */
  | { finished: false };

export async function find(
  configFile: string,
  request: FindRequest,
  options: PipelineOptions = {},
): Promise<FindResult> {
  const prepared = await prepare(configFile, options, { ignoresFound: true });
  const { plan, runFolder } = prepared;
  refuseErrors(plan);
  const numSteps = probeSteps(plan, request.tokens);
  const probes = request.kind === 'lr' ? lrProbes(plan, request, numSteps) : mixProbes(plan, request, numSteps);
  sayCost(prepared, probes.length, numSteps, options);
  const results = await runSeries(prepared, probes, options);
  if (!results) return { finished: false };
  const frame = {
    base: results[0]!.base,
    tolerance: request.tolerance ?? DEFAULT_TOLERANCE,
    numSteps,
    numTokens: numSteps * plan.tokensPerStep,
    runTokens: plan.totalTokens,
  };
  const points = probes.map(({ x }, i) => ({ x, ...(results[i]!.end && { scores: results[i]!.end }) }));
  const finding = request.kind === 'lr' ? findPeakLr(frame, points) : findDomainShare(frame, points);
  const file = writeFinding(runFolder, prepared, finding);
  const text = explainFinding(finding, prepared.config.recipe.preset);
  return { finished: true, finding, file, table: probeTable(finding), text };
}

function lrProbes(plan: Plan, { lrs }: FindRequest, numSteps: number) {
  const grid = distinct(lrs ?? lrGrid(plan.schedule.peakLr));
  return grid.map((peakLr) => {
    const label = `peak LR ${formatLr(peakLr)}`;
    return { x: peakLr, label, plan: probePlan(plan, { name: label, numSteps, peakLr }) };
  });
}

function mixProbes(plan: Plan, { shares = [...DEFAULT_PROBE_SHARES] }: FindRequest, numSteps: number) {
  checkMixable(plan);
  const bad = shares.find((share) => !(share > 0 && share <= 1));
  if (bad !== undefined) throw new ConfigError(`--probe-shares: expected shares above 0, at most 1, found ${bad}.`);
  return distinct(shares).map((domainShare) => {
    const label = `${formatShare(domainShare)} domain text`;
    return { x: domainShare, label, plan: probePlan(plan, { name: label, numSteps, domainShare }) };
  });
}

function distinct(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

/** Before anything is trained. */
function sayCost({ plan, hardware }: Prepared, numProbes: number, numSteps: number, { log }: PipelineOptions): void {
  const { trained, scored } = probeTokens(plan, numProbes, numSteps);
  const speed = hardware.tokensPerSecond;
  const time = speed
    ? `, about ${formatSeconds((trained + scored * FORWARD_SHARE) / speed)} at ${formatCount(speed)} tokens/s (${hardware.source})`
    : '; the speed of this machine is not known';
  log?.(
    `${numProbes} probes of ${numSteps} steps: ${formatCount(trained)} tokens trained (the run itself: ${formatCount(plan.totalTokens)}), ` +
      `${formatCount(scored)} scored${time}. Interrupted, the same command goes on.`,
  );
}
