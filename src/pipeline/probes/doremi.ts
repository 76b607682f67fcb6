// `continuo mix --method doremi`: a reference run with the planned shares, a proxy run whose shares go where it is behind the reference,
// and a run with the mean of those shares, which shows what they do and is the reference of another round.
import * as path from 'node:path';
import { ConfigError } from '../../base/errors.ts';
import { formatCount } from '../../base/units.ts';
import { DEFAULT_TOLERANCE, type Plan, probeSteps, proxyMixing } from '../../recipe/index.ts';
import { refuseErrors } from '../run.ts';
import { prepare } from '../stages.ts';
import type { PipelineOptions } from '../types.ts';
import { type Probe, type ProbeResult, ProbeSeries } from './series.ts';
import { mixedCorpora, probeWithShares } from './shares.ts';

export interface DoremiRequest {
  /** References with a proxy each; the shares that a round finds are those of the next one's reference. */
  rounds?: number;
  /** Tokens of each run. */
  tokens?: number;
  /** Rise of the general loss, as a share of the base's, above which it is said. */
  tolerance?: number;
}

export interface MixOfProxy {
  finished: true;
  method: 'doremi';
  /** `excess`: nats a token above the reference at the end of the last proxy; undefined where it drew nothing of the corpus there. */
  corpora: { name: string; planned: number; found: number; excess?: number }[];
  /** Bits per byte, measured: of the base, and after runs of `numSteps` with both shares. */
  sets: { name: 'domain' | 'general'; base: number; planned: number; found: number }[];
  numRounds: number;
  numSteps: number;
  /** The last round moved no share by more than a thousandth: the paper's end of rounds. */
  converged: boolean;
  /** The general loss with the shares found is above the base's by more than this share of it. */
  exceeds?: number;
}

/** Rounds end when no share moves by more: Xie et al. 2023, iterated DoReMi (from memory, unverified). */
const CONVERGED = 1e-3;

/** @throws ConfigError for fewer than two corpora, runs that are too short or diverge, and plans that choose tokens by a reference already */
export async function mixByDoremi(
  configFile: string,
  { rounds = 1, tokens, tolerance = DEFAULT_TOLERANCE }: DoremiRequest,
  options: PipelineOptions = {},
): Promise<MixOfProxy | { finished: false }> {
  const prepared = await prepare(configFile, options, { ignoresFound: true });
  const { plan } = prepared;
  refuseErrors(plan);
  checkCompared(plan);
  const { names, planned } = mixedCorpora(plan);
  const numSteps = probeSteps(plan, tokens);
  const mixing = proxyMixing(numSteps, plan.sequencesPerStep, names.length);
  const numProbes = 2 * rounds + 1;
  options.log?.(
    `${numProbes} runs of ${numSteps} steps: ${formatCount(numProbes * numSteps * plan.tokensPerStep)} tokens (the run itself: ${formatCount(plan.totalTokens)}). Interrupted, the same command goes on.`,
  );
  const series = new ProbeSeries(prepared, numProbes, options);
  const measured: ProbeResult[] = [];
  let shares = planned;
  let excess: Record<string, number> = {};
  let converged = false;
  for (let round = 0; ; round++) {
    const reference = probeWithShares(plan, names, shares, numSteps);
    const model = series.modelOf(reference);
    const proxy = proxyOf(reference, model, mixing);
    const isLast = converged || round === rounds;
    const result = await series.run({ ...reference, keepsModel: !isLast && !series.isDone(proxy) });
    if (!result) return { finished: false };
    measured.push(soundOnly(result));
    if (isLast) break;
    const steered = await series.run({ ...proxy, reference: model });
    if (!steered) return { finished: false };
    const { mixed } = soundOnly(steered);
    const found = names.map((name) => mixed!.shares[name] ?? 0);
    converged = found.every((share, k) => Math.abs(share - shares[k]!) < CONVERGED);
    shares = found;
    excess = mixed!.excess;
  }
  const [first, last] = [measured[0]!, measured.at(-1)!];
  const { base } = first;
  const roles = ['domain', 'general'] as const;
  const sets = roles.flatMap((name) =>
    base[name] === undefined ? [] : [{ name, base: base[name], planned: first.end![name]!, found: last.end![name]! }],
  );
  const general = sets.find(({ name }) => name === 'general');
  return {
    finished: true,
    method: 'doremi',
    corpora: names.map((name, k) => ({ name, planned: planned[k]!, found: shares[k]!, excess: excess[name] })),
    sets,
    ...{ numRounds: measured.length - 1, numSteps, converged },
    ...(general && general.found > general.base * (1 + tolerance) && { exceeds: tolerance }),
  };
}

/**
 * From the same base, with other text than its reference had, as in the paper's code (`shard_reversal`): what that one has read
 * itself it knows better than what can be learned from its corpus.
 */
function proxyOf({ label, plan }: Probe, model: string, mixing: NonNullable<Plan['mixing']>): Probe {
  const selectTokens = { reference: path.basename(path.dirname(model)), keep: 1 };
  return {
    label: `shares that are decided, first ${label}`,
    plan: { ...plan, seed: plan.seed + 1, selectTokens, mixing },
  };
}

function checkCompared({ selectTokens, engine }: Plan): void {
  if (engine)
    throw new ConfigError(
      'engine: DoReMi compares tokens with a reference, a search that has only been tried on the native engine. Take --method regmix, or engine: native for the search.',
    );
  if (selectTokens)
    throw new ConfigError(
      'training.selectTokens: DoReMi compares all tokens with a reference of its own. Take this key out for the search; --method regmix keeps it.',
    );
}

function soundOnly(result: ProbeResult): ProbeResult {
  if (result.end) return result;
  throw new ConfigError(
    '--method doremi: a run diverged, so no shares were found. Lower recipe.peakLr; `continuo plan --find-lr` finds one.',
  );
}
