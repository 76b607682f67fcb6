// mixing of continuo.yaml, with no default left open and each number's reason.
import { ConfigError } from '../../base/errors.ts';
import type { Config, MixingMethod } from '../../config/index.ts';
import type { BlendCorpus } from '../blends.ts';
import { chosen, FROM_FILE, formatShare } from '../learning-rates.ts';
import { tokensOf } from '../phases.ts';
import { DEFAULT_MIXTURE_RATE } from '../topic-mixture.ts';
import type { PlanPhase, Reason } from '../types.ts';
import { MIX_METHODS, type PlanMixing } from './decide.ts';
import { DEFAULT_GAIN } from './velocitune.ts';

/** Decisions in a run, and share of it before the first one: assumptions. */
const NUM_DECISIONS = 20;
const WARMUP_SHARE = 0.1;
/** As in ADO's code. */
const FLOOR = 0.01;
/** doge: 1 / mu of its code; velocitune, doremi: as in the paper. */
const RATES: Readonly<Partial<Record<MixingMethod, { rate: number; source: string }>>> = {
  'ppl-change': { rate: DEFAULT_MIXTURE_RATE, source: 'assumption' },
  velocitune: { rate: 1, source: 'Luo et al. 2025' },
  doge: { rate: 20, source: 'Olivia-fsm/DoGE, mu 0.05' },
  doremi: { rate: 1, source: 'Xie et al. 2023' },
};

/** What the planner knows by then. */
interface Planned {
  numSteps: number;
  /** Steps between two measurements of held-out text. */
  evaluateEvery: number;
  corpora: readonly BlendCorpus[];
  phases: readonly PlanPhase[];
  maxEpochs: number;
}

/** @throws ConfigError where decisions do not fit into the run */
export function planMixing(
  { mixing, recipe }: Config,
  { numSteps, evaluateEvery, corpora, phases, maxEpochs }: Planned,
  reasons: Reason[],
): PlanMixing | undefined {
  if (!mixing) return undefined;
  const { method, targets, toward } = mixing;
  const { title, source, reads } = MIX_METHODS[method];
  const measured = reads === 'heldOut';
  if (recipe.options && 'objective' in recipe.options && recipe.options.objective === 'answers')
    throw new ConfigError(
      'mixing: where only answers bear loss, a share of tokens is no share of what is learned, and losses of corpora cannot be compared. Remove mixing, or set recipe.objective: all.',
    );
  const take = <T>({ value, reason }: { value: T; reason: Reason }): T => {
    reasons.push(reason);
    return value;
  };
  const steps = (n: number) => `${n} steps`;
  reasons.push({ what: 'mixing', value: method, why: title, source: `${FROM_FILE}; ${source}` });
  const everySteps = take(
    chosen(
      'shares decided every',
      mixing.every,
      measured ? evaluateEvery : Math.max(1, Math.ceil(numSteps / NUM_DECISIONS)),
      steps,
      measured ? 'as often as held-out text is measured, which the method looks at' : 'a twentieth of the run',
      'assumption',
    ),
  );
  if (measured && everySteps % evaluateEvery !== 0)
    throw new ConfigError(
      `mixing.every: ${method} looks at held-out text, which is measured every ${evaluateEvery} steps: expected a multiple of that, found ${everySteps}. Set evaluate.every to ${everySteps} too.`,
    );
  if (everySteps >= numSteps)
    throw new ConfigError(
      `mixing.every: the run has ${numSteps} steps, so with a decision every ${everySteps} there is none. Lower it${measured ? ' and evaluate.every' : ''}, or lengthen the run.`,
    );
  const usual = Math.max(everySteps, Math.ceil(WARMUP_SHARE * numSteps));
  const asked = take(
    chosen(
      'shares as planned for',
      mixing.warmup,
      Math.ceil(usual / everySteps) * everySteps,
      steps,
      'losses change by themselves while the LR rises; a tenth of the run, up to the next decision',
      'assumption',
    ),
  );
  const firstStep = Math.ceil(asked / everySteps) * everySteps;
  if (firstStep >= numSteps)
    throw new ConfigError(
      `mixing.warmup: the first decision would fall on step ${firstStep}, the run has ${numSteps} steps.`,
    );
  const floor = take(
    chosen(
      'least share of a corpus',
      mixing.floor,
      FLOOR,
      formatShare,
      'a corpus that is not drawn is not measured either',
      'Jiang et al. 2024 (code)',
    ),
  );
  reasons.push({
    what: 'least share of general text',
    value: mixing.minReplay === undefined ? 'as planned' : formatShare(mixing.minReplay),
    why: 'mixing may raise what guards the old knowledge; these methods look at losses alone and would take it away',
    source: mixing.minReplay === undefined ? 'assumption' : FROM_FILE,
  });
  const usualRate = RATES[method];
  const rate = usualRate
    ? take(chosen('rate of mixing', mixing.rate, usualRate.rate, String, 'how far one decision goes', usualRate.source))
    : 1;
  if (method === 'velocitune')
    reasons.push({
      what: 'targets of mixing',
      value: targets
        ? Object.entries(targets)
            .map(([name, bits]) => `${name} ${bits}`)
            .join(', ')
        : 'derived',
      why: `bits per byte; where none is given, ${formatShare(DEFAULT_GAIN)} below the base's, and for general text the base's own`,
      source: targets ? FROM_FILE : 'assumption',
    });
  // What the plan itself repeats more often may be repeated so often.
  const mostTokens = corpora.map((corpus): [string, number] => [
    corpus.name,
    Math.max((corpus.maxEpochs ?? maxEpochs) * corpus.numTokens, Math.ceil(tokensOf(phases, corpus.name))),
  ]);
  return {
    ...{ method, everySteps, firstStep, floor, rate, mostTokens: Object.fromEntries(mostTokens) },
    ...(mixing.minReplay !== undefined && { minReplay: mixing.minReplay }),
    ...(targets && { targets }),
    ...(toward && { toward }),
  };
}

/** Sequences of each corpus that a decision of a DoReMi proxy rests on, on average; decisions of a proxy, at least and at most. Assumptions. */
const SEQUENCES_A_DECISION = 8;
const PROXY_DECISIONS = { least: 10, most: 200 };
/**
 * Of a proxy's steps, before the first decision. The paper decides from the first of 200,000 steps on. Of thirty, the first ten show what
 * any text teaches within a few sequences (how frequent its tokens are): noise had the largest excess there (docs/LOG.md, 2026-11-22).
 */
const PROXY_WARMUP = 0.5;

/**
 * How a proxy of DoReMi finds shares: a decision a step, as in the paper, where a step has enough sequences to know each corpus' excess by.
 * @throws ConfigError for a proxy that is too short
 */
export function proxyMixing(numSteps: number, sequencesPerStep: number, numCorpora: number): PlanMixing {
  const { least, most } = PROXY_DECISIONS;
  const decided = Math.floor((1 - PROXY_WARMUP) * numSteps);
  if (decided < least)
    throw new ConfigError(
      `--probe-tokens: DoReMi finds shares in at least ${Math.ceil(least / (1 - PROXY_WARMUP))} steps, found ${numSteps}. Raise it, or lower training.batchTokens.`,
    );
  const wanted = Math.max((SEQUENCES_A_DECISION * numCorpora) / sequencesPerStep, decided / most);
  const everySteps = Math.min(Math.ceil(wanted), Math.floor(decided / least));
  return {
    ...{ method: 'doremi', everySteps, firstStep: everySteps * Math.ceil((numSteps - decided) / everySteps) },
    ...{ floor: FLOOR, rate: RATES.doremi!.rate },
    // General text is a corpus like the others here, and what there is of a corpus is no matter of so short a run.
    ...{ minReplay: 0, mostTokens: {} },
  };
}
