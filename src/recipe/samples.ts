// Samples of what the model writes, for the alarm `writing`: how many, how often, and what they cost in time and memory.
import { type Config, wantsSamples } from '../config/index.ts';
import { FORWARD_SHARE } from './evaluation.ts';
import { FROM_FILE } from './learning-rates.ts';
import type { ModelFactsForPlan, Reason } from './types.ts';

export interface SamplePlan {
  /** Besides before the first step and after the last; a multiple of the evaluations' interval. */
  everySteps: number;
  /** Absent: the built-in ones. */
  prompts?: string[];
  /** Samples of each prompt. */
  draws: number;
  maxTokens: number;
  temperature: number;
}

/** A few more say more about chance. */
const DRAWS = 2;
/** Tokens that show a loop: a piece of twenty, three times. Assumption; more cost time at each measurement. */
const SAMPLE_TOKENS = 64;
/** Greedily, small base models go round in loops before any training (experiments/alarms), so that nothing is left to see. */
const SAMPLE_TEMPERATURE = 0.7;

/** Of the built-in prompts (src/eval), a chat template's markup included. */
const BUILT_IN = { count: 16, tokens: 32 };
/** UTF-8 bytes that make up a token of a prompt. Assumption. */
const BYTES_PER_TOKEN = 4;
/** Sequences that are written at once: as many as products take row by row, so that a sample does not depend on those beside it. */
export const SAMPLES_AT_ONCE = 8;
/**
 * Tokens that could be trained on in the time of one that is written, eight sequences at once: 0.7 for SmolLM2-135M on 2 cores (467 tokens/s
 * written, 328 trained on; bench/results), 2 for the embedded base, whose steps are too short for what each costs besides (docs/LOG.md).
 */
const TOKEN_COST = 1;
/** Of a model with experts: eight rows share few of them, so each row reads its own weights, as one sequence alone does (126 tokens/s there). */
const TOKEN_COST_WITH_EXPERTS = 3;
/** Share of the training time between two samplings that the default spends on them. Assumption. */
const MAX_SHARE = 0.03;

/** Of all sequences at once, for counting memory. */
export interface SampleShape {
  sequences: number;
  /** Prompt included. */
  tokens: number;
}

function promptsOf({ alarms }: Config): { count: number; meanTokens: number; longest: number } {
  const given = alarms?.prompts?.map((prompt) => Buffer.byteLength(prompt) / BYTES_PER_TOKEN);
  if (!given) return { count: BUILT_IN.count, meanTokens: BUILT_IN.tokens, longest: BUILT_IN.tokens };
  const sum = given.reduce((total, tokens) => total + tokens, 0);
  return { count: given.length, meanTokens: sum / given.length, longest: Math.ceil(Math.max(...given)) };
}

/** What the engine holds while it writes; undefined where samples are out of the question. */
export function sampleShape(config: Config, { context }: Pick<ModelFactsForPlan, 'context'>): SampleShape | undefined {
  if (!config.alarms || config.alarms.off.includes('writing') || config.engine.name === 'torch') return undefined;
  return { sequences: SAMPLES_AT_ONCE, tokens: Math.min(context, promptsOf(config).longest + SAMPLE_TOKENS) };
}

/** What one sampling costs, as tokens that could be trained on in its time. */
export function samplingTokens(config: Config, { experts }: Pick<ModelFactsForPlan, 'experts'>): number {
  const { count, meanTokens } = promptsOf(config);
  const cost = experts ? TOKEN_COST_WITH_EXPERTS : TOKEN_COST;
  return DRAWS * count * (SAMPLE_TOKENS * cost + meanTokens * FORWARD_SHARE);
}

/**
 * Samples at each evaluation where they were asked for or cost little beside the training in between, else at every so many evaluations,
 * and none where not even one between the first and the last is to be had for that.
 * @param run steps, tokens a step, and steps between two evaluations
 */
export function planSamples(
  config: Config,
  model: Pick<ModelFactsForPlan, 'experts' | 'context'>,
  run: { numSteps: number; tokensPerStep: number; evaluateEvery: number },
  reasons: Reason[],
): SamplePlan | undefined {
  const { alarms, engine } = config;
  if (!alarms || alarms.off.includes('writing')) return undefined;
  const explain = (value: string, why: string, source = 'docs/alarms.md; the share: assumption') =>
    reasons.push({ what: 'samples of its writing', value, why, source });
  if (engine.name === 'torch') {
    explain('none', 'the engine torch writes none: the alarm writing hears nothing', 'docs/torch.md');
    return undefined;
  }
  const each = samplingTokens(config, model);
  const share = each / (run.evaluateEvery * run.tokensPerStep);
  const isAsked = wantsSamples(alarms);
  const everyNth = isAsked ? 1 : Math.ceil(share / MAX_SHARE);
  const everySteps = everyNth * run.evaluateEvery;
  const cost = `${percent(share)} of the training time from one measurement to the next`;
  if (everyNth > 1 && everySteps >= run.numSteps) {
    explain(
      'none: the alarm writing hears nothing',
      `they would cost ${cost}, and ${percent(MAX_SHARE)} is what they may; alarms: { writing: true } takes them all the same`,
    );
    return undefined;
  }
  const { count } = promptsOf(config);
  const size = `${DRAWS * count} of ${SAMPLE_TOKENS} tokens at most`;
  if (everyNth > 1)
    explain(
      `${size}, every ${everySteps} steps, and before the first and after the last`,
      `at each measurement they would cost ${cost}; alarms: { writing: true } takes them all the same`,
    );
  else
    explain(
      `${size}, at each measurement`,
      `${isAsked ? 'as you set it; ' : ''}they cost ${cost}`,
      ...(isAsked ? [FROM_FILE] : []),
    );
  return {
    everySteps,
    ...(alarms.prompts && { prompts: alarms.prompts }),
    ...{ draws: DRAWS, maxTokens: SAMPLE_TOKENS, temperature: SAMPLE_TEMPERATURE },
  };
}

function percent(share: number): string {
  if (share < 0.001) return 'less than 0.1 %';
  return `${Number((100 * share).toPrecision(2))} %`;
}
