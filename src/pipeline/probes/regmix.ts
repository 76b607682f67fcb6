// `continuo mix`: RegMix with short runs of the model itself as proxies. In continued pretraining a small model of the same family is seldom
// at hand, and how far the base is from each corpus is what the shares depend on; to search with a smaller one, name it in a second file.
import { ConfigError } from '../../base/errors.ts';
import { formatCount } from '../../base/units.ts';
import { DEFAULT_TOLERANCE, drawMixtures, findMixture, minRuns, probeSteps } from '../../recipe/index.ts';
import { refuseErrors } from '../run.ts';
import { prepare } from '../stages.ts';
import type { PipelineOptions } from '../types.ts';
import { runSeries } from './series.ts';
import { mixedCorpora, probeWithShares } from './shares.ts';

export interface MixRequest {
  /** Short runs; the first has the planned shares. */
  probes?: number;
  /** Tokens a probe. */
  tokens?: number;
  /** Largest rise of the general loss, as a share of the base's. */
  tolerance?: number;
}

export interface MixOfProbes {
  finished: true;
  method: 'regmix';
  corpora: { name: string; planned: number; found: number }[];
  /** Bits per byte: of the base, as the regression expects them of both mixtures, and how well it ranks runs that it has not seen. */
  sets: { name: 'domain' | 'general'; base: number; planned: number; found: number; rankCorrelation: number }[];
  numProbes: number;
  numSteps: number;
}

/** @throws ConfigError for fewer than two corpora or too few probes */
export async function mixByProbes(
  configFile: string,
  { probes, tokens, tolerance = DEFAULT_TOLERANCE }: MixRequest,
  options: PipelineOptions = {},
): Promise<MixOfProbes | { finished: false }> {
  const prepared = await prepare(configFile, options, { ignoresFound: true });
  const { plan } = prepared;
  refuseErrors(plan);
  const { names, planned } = mixedCorpora(plan);
  const count = probes ?? 2 * minRuns(names.length);
  if (count < minRuns(names.length))
    throw new ConfigError(
      `--probes: expected at least ${minRuns(names.length)} for ${names.length} corpora, found ${count}.`,
    );
  const numSteps = probeSteps(plan, tokens);
  const mixtures = drawMixtures(planned, count, plan.seed);
  options.log?.(
    `${count} probes of ${numSteps} steps: ${formatCount(count * numSteps * plan.tokensPerStep)} tokens (the run itself: ${formatCount(plan.totalTokens)}). Interrupted, the same command goes on.`,
  );
  const series = mixtures.map((mixture) => probeWithShares(plan, names, mixture, numSteps));
  const results = await runSeries(prepared, series, options);
  if (!results) return { finished: false };
  const { base } = results[0]!;
  const general = base.general === undefined ? [] : [base.general];
  const sound = results.flatMap(({ end }, i) =>
    end ? [{ mixture: mixtures[i]!, losses: [end.domain, ...(end.general === undefined ? [] : [end.general])] }] : [],
  );
  const found = findMixture(sound, {
    base: [base.domain, ...general],
    wanted: [1, ...general.map(() => 0)],
    most: [Number.POSITIVE_INFINITY, ...general.map((bits) => bits * (1 + tolerance))],
    seed: plan.seed,
  });
  return {
    finished: true,
    method: 'regmix',
    corpora: names.map((name, k) => ({ name, planned: mixtures[0]![k]!, found: found.mixture[k]! })),
    sets: [base.domain, ...general].map((bits, i) => ({
      name: i === 0 ? 'domain' : 'general',
      base: bits,
      planned: found.expectedAtFirst[i]!,
      found: found.expected[i]!,
      rankCorrelation: found.rankCorrelations[i]!,
    })),
    ...{ numProbes: sound.length, numSteps },
  };
}
