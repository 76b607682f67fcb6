// From facts about the model, the corpora and the budget to a complete plan: batch, steps, schedule, phases, blends, each number with
// its reason. Pure: no files, no clock. What a method wants is in presets/; what is arithmetic is here.

import { ConfigError } from '../base/errors.ts';
import { formatBytes, formatCount, formatSeconds } from '../base/units.ts';
import type {
  BestRule,
  CommonOptions,
  Config,
  GivenLoraConfig,
  LoraConfig,
  PresetName,
  Recompute,
} from '../config/index.ts';
import { adviseModel } from './advisor.ts';
import { planAlarms } from './alarms.ts';
import { type BlendCorpus, splitWhole } from './blends.ts';
import { estimateCost, workOfLengths } from './cost.ts';
import { FORWARD_SHARE, heldOutTokens, numEvaluations, numSamplings } from './evaluation.ts';
import { fitOn } from './fit.ts';
import { explainGenerated, type Penalty, penaltyOf, planGuard, usualGuard, weightDecayUnder } from './guards.ts';
import { bothSources, chosen, FROM_FILE, formatLr } from './learning-rates.ts';
import { estimateMemory, type MemoryEstimate } from './memory.ts';
import { planMixing } from './mixing/index.ts';
import { type Batch, type Blending, cutSteps, explainCaps, makePhases, tokensOf } from './phases.ts';
import { findPitfalls } from './pitfalls/index.ts';
import { PRESETS } from './presets/index.ts';
import { DEFAULT_MAX_EPOCHS, type Preset } from './presets/preset.ts';
import { resolveFound } from './probes.ts';
import { planSamples, type SampleShape, sampleShape, samplingTokens } from './samples.ts';
import { annealStart, lrAt, makeSchedule, type Schedule } from './schedules.ts';
import { shiftReasons } from './shift.ts';
import { modelsBeside, planDistill, planSelection, tokensReadTwice } from './token-losses.ts';
import type { AdapterFacts, Design, ExpertFacts, Plan, PlanInputs, PlanPhase, Reason } from './types.ts';
import { explainBoost, explainWeights, weaknessBoost, weighCorpora } from './weighting.ts';

/** Assumptions on one machine: longer sequences cost memory and most documents are shorter; larger passes are no faster on a CPU. */
const DEFAULT_MAX_SEQ_LEN = 1024;
const MICRO_BATCH_TOKENS = 4096;
/** Tokens a step: fewer make noisy gradients, more waste a small budget on few steps. Assumptions. */
const MIN_BATCH_TOKENS = 4096;
const MAX_BATCH_TOKENS = 524_288;
/** Where the budget is in steps and nothing else says how large one is. Assumption. */
const BATCH_TOKENS_OF_A_STEP_BUDGET = 16_384;
/** Held-out tokens a set; the standard error of its mean loss is then near 0.01 nats. Assumption. */
const EVAL_TOKENS = 100_000;
/** Share of the training time that measuring may take. Assumption. */
const MAX_EVAL_SHARE = 0.1;
/** Share of the machine's memory that the estimate may fill: it is good to a tenth, and others need some. */
const MAX_MEMORY_SHARE = 0.8;
/** Steps of the grid on which the phases' shares of a run are found before its length is known. */
const GRID_STEPS = 100_000;

/**
 * A complete plan. Throws ConfigError for a budget or an option that cannot be met; what can be met but is unwise is in `warnings`.
 */
export function makePlan(given: PlanInputs): Plan {
  const inputs = resolveFound(given);
  const { config, model, hardware, shift, probes } = inputs;
  const corpora = trainable(inputs);
  const options: CommonOptions = config.recipe.options;
  const blending: Blending = { maxEpochs: options.maxEpochs ?? DEFAULT_MAX_EPOCHS, boost: weaknessBoost(options) };
  const reasons: Reason[] = [];
  const take = <T>(choice: { value: T; reason: Reason }): T => {
    reasons.push(choice.reason);
    return choice.value;
  };

  const seqLen = take(chooseSeqLen(inputs));
  const draft = designOf(inputs, corpora, seqLen);
  const budgetTokens = tokensOfBudget(inputs, draft, corpora, blending);
  const lengths = [...new Set([seqLen, ...draft.phases.flatMap((phase) => phase.seqLen ?? [])])];
  const sequencesPerStep = take(chooseBatch(inputs, draft, lengths, budgetTokens));
  const tokensPerStep = sequencesPerStep * seqLen;
  const numSteps = config.budget.kind === 'steps' ? config.budget.steps : Math.floor(budgetTokens! / tokensPerStep);
  if (numSteps < 1)
    throw new ConfigError(
      `budget: ${formatCount(budgetTokens!)} tokens are less than one step of ${formatCount(tokensPerStep)} tokens. Raise the budget, or lower training.batchTokens or training.seqLen.`,
    );
  const totalTokens = numSteps * tokensPerStep;
  reasons.push(explainSteps(inputs, numSteps, tokensPerStep, totalTokens));

  // The batch follows from the draft's fewest steps and blends; an LR may follow from the batch.
  const sized = { ...inputs, model: { ...model, stepTokens: tokensPerStep } };
  const design = designOf(sized, corpora, seqLen);
  const schedule = makeSchedule(design.lr, numSteps);
  const phases = makePhases(design, schedule, tokensPerStep, corpora, blending);
  if (phases.length < design.phases.length)
    reasons.push({
      what: 'phases',
      value: `${phases.length} of the recipe's ${design.phases.length}`,
      why: 'neighbours with the same blend are one; a phase that the run is too short for is left out',
      source: 'arithmetic',
    });
  if (shift) reasons.push(...shiftReasons(shift));
  reasons.push(
    ...design.reasons,
    ...explainWeights(config),
    ...explainBoost(options, blending.boost),
    ...explainCaps(design, schedule, tokensPerStep, phases, corpora, blending),
  );
  if (options.replayTokens && config.budget.kind === 'tokens')
    reasons.push({
      what: 'replayed tokens',
      value: options.replayTokens === 'added' ? 'come on top of the budget' : 'are part of the budget',
      why:
        options.replayTokens === 'added'
          ? 'the budget counts new text alone: the run is longer than it by the general text'
          : 'as in the study that gave the shares: they take the place of new text, and the run costs the same',
      source: options.replayTokens === 'added' ? FROM_FILE : `${FROM_FILE}; Ibrahim et al. 2024`,
    });

  const precision = take(
    chosen(
      'precision',
      config.training.precision,
      'bf16',
      String,
      'bf16 weights and activations with f32 masters, moments and sums: half the memory traffic',
      'assumption',
    ),
  );
  const packing = take(
    chosen(
      'packing',
      config.training.packing,
      'fill',
      String,
      'no padding, and long documents keep windows of their own; best-fit cuts no short document and pads instead',
      'assumption',
    ),
  );
  const lora = planLora(config.training.lora, inputs.adapter, schedule.peakLr, reasons);
  reasons.push(...explainGenerated(config));
  const { ema } = config.training;
  const freeze = inputs.expansion?.freeze ?? config.training.freeze;
  const distill = planDistill(config, corpora, reasons);
  const selectTokens = planSelection(config, reasons);
  const beside = modelsBeside(distill, selectTokens);
  const writesAtMost = sampleShape(config, model);
  /** Of the phase that needs most. */
  const memoryWith = (
    held: Penalty,
    sequencesPerMicroBatch: number,
    recompute: boolean,
    writes: SampleShape | undefined,
  ) =>
    lengths
      .map((length) => cutSteps({ seqLen, sequencesPerStep, sequencesPerMicroBatch }, length))
      .map(({ sequencesPerMicroBatch: batch, seqLen }) =>
        estimateMemory(
          inputs.countMemory({
            batch,
            seqLen,
            precision,
            lora,
            freeze,
            ema: ema !== undefined,
            recompute,
            penalty: held,
            writes,
            ...beside,
          }),
        ),
      )
      .reduce((most, one) => (one.totalBytes > most.totalBytes ? one : most));
  const guardConfig =
    config.guard === undefined && design.guardsByEwc
      ? usualGuard(
          inputs,
          { seqLen, totalTokens },
          () => fitsMemory(inputs, memoryWith('fisher', 1, true, writesAtMost)),
          reasons,
        )
      : config.guard;
  const guard = planGuard(guardConfig, { seqLen, totalTokens, sequencesPerStep }, reasons);
  const penalty = penaltyOf(guard);
  const memoryOf = (sequencesPerMicroBatch: number, recompute: boolean, writes: SampleShape | undefined) =>
    memoryWith(penalty, sequencesPerMicroBatch, recompute, writes);
  // What `selective` keeps is the PyTorch engine's own matter; counted is what it would take without.
  const onGpus =
    inputs.on && config.engine.name === 'torch'
      ? fitOn(
          inputs,
          inputs.on,
          {
            ...{ precision, lora, freeze, penalty, seqLen: Math.max(...lengths), ema: ema !== undefined },
            ...{ sequencesPerStep: tokensPerStep / Math.max(...lengths), ...beside },
          },
          config.training,
        )
      : undefined;
  const recompute = take(
    onGpus
      ? chosen<Recompute>(
          'recomputation',
          config.training.recompute,
          onGpus.recompute,
          (value) => (value === 'selective' ? value : value ? 'full' : 'none'),
          `the least with which a pass fits on a ${inputs.on!.gpu.name}`,
          'counted',
        )
      : chooseRecompute(inputs, (recomputes) => memoryOf(config.training.microBatch ?? 1, recomputes, writesAtMost)),
  );
  const sequencesPerMicroBatch = take(
    onGpus && config.training.microBatch === undefined
      ? chosen(
          'sequences a pass',
          undefined,
          onGpus.microBatch,
          String,
          `${onGpus.fits ? `the most that fit on a ${inputs.on!.gpu.name}` : `not even one fits on a ${inputs.on!.gpu.name}`}, of the ${onGpus.share} that a GPU has of a step`,
          'counted',
        )
      : chooseMicroBatch(inputs, sequencesPerStep, seqLen, (batch) =>
          memoryOf(batch, recompute === true, writesAtMost),
        ),
  );
  const numTrained =
    lora || freeze
      ? inputs.countMemory({ batch: 1, seqLen, precision, lora, freeze, ema: ema !== undefined, recompute: false })
          .numTrained
      : undefined;
  if (inputs.expansion)
    reasons.push({
      what: 'new blocks',
      value: `${inputs.expansion.newLayers.length}, as layers ${inputs.expansion.newLayers.join(', ')}`,
      why: 'each a copy of the layer before it that adds nothing yet: the model begins as it was, and all its own weights stay',
      source: 'LLaMA Pro, Wu et al. 2024 (arXiv 2401.02415)',
    });
  if (freeze)
    reasons.push({
      what: 'frozen tensors',
      value: freeze.join(', '),
      why: `${inputs.expansion ? 'all but the new blocks' : 'as you set it'}; ${formatCount(numTrained!)} of ${formatCount(model.numParameters)} parameters are trained, and no gradient is had below the first of them`,
      source: FROM_FILE,
    });
  reasons.push(...explainLengths({ seqLen, sequencesPerStep, sequencesPerMicroBatch }, phases));
  const usualDecay = weightDecayUnder(config.guard) ?? {
    value: 0.1,
    why: 'usual in pretraining, and kept after it',
    source: 'Parmar et al. 2024',
  };
  const optimizer = {
    beta1: take(
      chosen(
        'beta1',
        config.training.beta1,
        0.9,
        String,
        'usual in pretraining, and kept after it: only the LR schedule and the data change',
        'Parmar et al. 2024',
      ),
    ),
    beta2: take(
      chosen(
        'beta2',
        config.training.beta2,
        0.95,
        String,
        'usual in pretraining, and kept after it',
        'Parmar et al. 2024',
      ),
    ),
    eps: take(chosen('eps', config.training.eps, 1e-8, formatLr, "PyTorch's default", 'assumption')),
    weightDecay: take(
      chosen('weight decay', config.training.weightDecay, usualDecay.value, String, usualDecay.why, usualDecay.source),
    ),
    clipNorm: take(
      chosen(
        'gradient clipping',
        config.training.clip,
        1,
        String,
        'the usual norm; Llama-3-SynE used it too',
        'Chen et al. 2024',
      ),
    ),
    embeddingLrFactor:
      take(
        chosen(
          'embedding LR',
          config.training.embeddingLr,
          lora?.embeddings ? (schedule.peakLr * (lora.lrFactor ?? 1)) / ADAPTER_TO_EMBEDDING_LR : schedule.peakLr,
          formatLr,
          lora?.embeddings
            ? "a tenth of the adapters': trained in full, the embedding and output matrices want the LR of full training"
            : 'the embedding and output matrices learn like all other weights',
          lora?.embeddings
            ? 'unsloth (unslothai/unsloth, studio/backend/core/training/worker.py: embedding_learning_rate)'
            : 'assumption',
        ),
      ) / schedule.peakLr,
  };
  const routers = model.experts && chooseRouterLosses(config.training, model.experts, take);
  if (!routers) refuseRouterLosses(config.training);
  if (ema !== undefined)
    reasons.push({
      what: 'average of the weights',
      value: `decay ${ema} a step`,
      why: `as you set it; it remembers about ${formatCount(1 / (1 - ema))} steps, is scored beside the weights and exported as ema/ of the last checkpoint`,
      source: FROM_FILE,
    });
  const tokensPerSet = take(
    chosen(
      'held-out tokens a set',
      config.evaluate.tokensPerSet,
      EVAL_TOKENS,
      formatCount,
      'enough for a standard error near 0.01 nats',
      'assumption',
    ),
  );
  const heldOut = heldOutTokens(inputs.corpora, tokensPerSet);
  const evalTokens = ema === undefined ? heldOut : 2 * heldOut;
  const evaluateEvery = take(chooseEvaluateEvery(config, numSteps, tokensPerStep, evalTokens));
  const mixing = planMixing(
    config,
    { numSteps, evaluateEvery: Math.min(evaluateEvery, numSteps), corpora, phases, maxEpochs: blending.maxEpochs },
    reasons,
  );
  const checkpointEvery = take(
    chosen(
      'checkpoint every',
      config.checkpoints.everySteps,
      usualInterval(numSteps),
      steps,
      'a crash costs at most this; a fifth of a short run, 100 steps or a hundredth of a long one',
      'assumption',
    ),
  );
  const keep = take(
    chosen('checkpoints kept', config.checkpoints.keep, 2, String, 'the newest, and one before it', 'assumption'),
  );
  const { best } = config.checkpoints;
  if (best)
    reasons.push({ what: 'best checkpoint', value: describeBest(best), why: 'as you set it', source: FROM_FILE });
  const seed = take(
    chosen('seed', config.training.seed, 0, String, 'any; the same seed gives the same run, bit for bit', 'assumption'),
  );

  const sampled = { numSteps, tokensPerStep, evaluateEvery: Math.min(evaluateEvery, numSteps) };
  const samples = planSamples(config, model, sampled, reasons);
  const measured = { tasks: config.evaluate.tasks !== undefined, samples: samples !== undefined };
  const alarms = planAlarms(config, model, blending.maxEpochs, measured, reasons);
  const expected = expectations(phases, corpora, totalTokens);
  const memory = memoryOf(sequencesPerMicroBatch, recompute === true, samples && writesAtMost);
  const plan: Plan = {
    formatVersion: 1,
    name: config.name,
    preset: config.recipe.preset,
    presetTitle: PRESETS[config.recipe.preset].title,
    model: {
      name: model.name,
      ...(model.family === undefined ? {} : { family: model.family }),
      ...(model.tokenizer && { tokenizer: model.tokenizer }),
      numParameters: model.numParameters,
      numNonEmbedding: model.numNonEmbedding,
      context: model.context,
      isInstruct: model.isInstruct,
      isInstructWhy: model.isInstructWhy,
      ...(model.experts && { experts: model.experts }),
      ...(model.pretraining && { pretraining: model.pretraining }),
      ...(model.known && { known: model.known }),
    },
    corpora: inputs.corpora.map((corpus) => ({ ...corpus })),
    ...{ numSteps, tokensPerStep, seqLen, sequencesPerStep, sequencesPerMicroBatch, totalTokens, precision },
    ...(packing === 'fill' ? {} : { packing }),
    ...(recompute ? { recompute } : {}),
    optimizer,
    ...(lora === undefined ? {} : { lora }),
    ...(freeze && { freeze }),
    ...(numTrained === undefined ? {} : { numTrained }),
    ...(routers && { routers }),
    ...(ema === undefined ? {} : { ema }),
    ...((guard || distill) && { guard: { ...guard, ...(distill && { distill }) } }),
    ...(selectTokens && { selectTokens }),
    ...engineOf(config),
    schedule,
    phases,
    ...(mixing && { mixing }),
    checkpoint: {
      everySteps: Math.min(checkpointEvery, numSteps),
      keep,
      ...keepAlways(schedule),
      ...(best && { best }),
    },
    evaluation: {
      everySteps: Math.min(evaluateEvery, numSteps),
      tokensPerSet,
      ...planTasks(config, numSteps, reasons),
      ...(samples && { samples }),
    },
    ...(alarms && { alarms }),
    seed,
    reasons,
    expected: { ...expected, memory },
    warnings: [],
    ...(shift && { shift }),
    ...(probes && { probes }),
  };
  if (hardware?.tokensPerSecond && !inputs.on) {
    plan.expected.seconds = Math.round(
      (totalTokens * workOfLengths(model, plan) +
        (numEvaluations(plan) * evalTokens + tokensReadTwice(plan)) * FORWARD_SHARE +
        numSamplings(plan) * samplingTokens(config, model)) /
        hardware.tokensPerSecond,
    );
    const value = `${formatCount(hardware.tokensPerSecond)} tokens/s, ${formatSeconds(plan.expected.seconds)}`;
    reasons.push({ what: 'time', value, why: 'training and measuring at this speed', source: hardware.source });
  }
  reasons.push({
    what: 'memory',
    value: formatBytes(memory.totalBytes),
    why: `${formatBytes(memory.stateBytes)} for weights, masters, gradients and moments (16 bytes a trained parameter${ema === undefined ? '' : ', 4 more for its average'}${penalty ? `, ${(precision === 'bf16' ? 2 : 4) + (penalty === 'fisher' ? 2 : 0)} more for ${penalty === 'fisher' ? 'its anchor and its Fisher' : 'its anchor'}` : ''})${distill || selectTokens ? ' and those of the model that is read beside it' : ''}, ${formatBytes(memory.activationBytes)} for the activations of one pass, ${formatBytes(memory.programBytes)} for the program`,
    source: 'counted; the program: measured',
  });
  if (design.recordsPretraining)
    plan.recordsPretraining = {
      peakLr: schedule.peakLr,
      finalLr: lrAt(schedule, numSteps - 1),
      tokens: totalTokens,
      batchTokens: tokensPerStep,
      source: `continuo ${config.name}`,
    };
  plan.expected.cost = estimateCost(inputs, plan);
  if (inputs.on) plan.expected.seconds = Math.round(plan.expected.cost.gpus.seconds);
  const advice = adviseModel({ model, corpora: inputs.corpora, preset: plan.preset });
  if (advice) plan.advice = advice;
  plan.warnings = findPitfalls(sized, plan);
  return plan;
}

/** Corpora to train on, with their weights. */
function trainable({ config, corpora }: PlanInputs): BlendCorpus[] {
  const used = corpora.filter((corpus) => corpus.role !== 'evaluation');
  const empty = used.find((corpus) => corpus.numTokens === 0);
  if (empty)
    throw new ConfigError(
      `corpora.${empty.name}: has no tokens to train on. Check its path, or lower what it holds out (heldOut).`,
    );
  if (used.length === 0)
    throw new ConfigError('corpora: none to train on. Give one the role domain, general or instruction.');
  return weighCorpora(config, used);
}

/** @param seqLen of the run: a phase that asks for the same has none of its own */
function designOf({ config, model, shift }: PlanInputs, corpora: readonly BlendCorpus[], seqLen: number): Design {
  const { recipe } = config;
  // The type demands one file for each preset, under its own options; a table of them cannot say that they belong together.
  const { design } = PRESETS[recipe.preset] as Preset<PresetName>;
  const made = design({ model, corpora, shift }, recipe.options);
  const phases = made.phases.map((phase) => (phase.seqLen === seqLen ? { ...phase, seqLen: undefined } : phase));
  return { ...made, phases };
}

function engineOf({ engine }: Config): Pick<Plan, 'engine'> {
  if (engine.name === 'native') return {};
  const { name, gpus, nodes, trustRemoteCode } = engine;
  return { engine: { name, gpus, ...(nodes > 1 && { nodes }), ...(trustRemoteCode && { trustRemoteCode }) } };
}

/** "lowest domain, at most 2 % of general lost" */
function describeBest({ of, within }: BestRule): string {
  const guards = Object.entries(within).map(([name, percent]) => `at most ${percent} % of ${name} lost`);
  return [`best ${of}`, ...guards].join(', ');
}

function planTasks(
  { evaluate: { tasks } }: Config,
  numSteps: number,
  reasons: Reason[],
): Pick<Plan['evaluation'], 'tasks'> {
  if (!tasks) return {};
  const { everySteps, ...rest } = tasks;
  const count = everySteps === undefined ? 0 : Math.ceil(numSteps / everySteps) - 1;
  const atSteps = Array.from({ length: count }, (_, i) => (i + 1) * everySteps!);
  const onTheWay = atSteps.length > 0 ? `, and every ${everySteps} steps` : '';
  reasons.push({
    what: 'tasks',
    value: tasks.names.join(', '),
    why: `measured before the first step and after the last${onTheWay}`,
    source: FROM_FILE,
  });
  return { tasks: { ...rest, atSteps } };
}

/** What shall be continued one day goes on from before the anneal. */
function keepAlways(schedule: Schedule): { always?: number[] } {
  if (schedule.kind !== 'infinite') return {};
  const step = annealStart(schedule);
  return step > 0 ? { always: [step] } : {};
}

function chooseSeqLen({ config, model }: PlanInputs) {
  const seqLen = Math.min(model.context, DEFAULT_MAX_SEQ_LEN);
  const why =
    seqLen === model.context
      ? "the model's own context"
      : `the model can read ${formatCount(model.context)}, but most documents are shorter and memory grows with it; set training.seqLen for long documents`;
  return chosen(
    'sequence length',
    config.training.seqLen,
    seqLen,
    (n) => `${n} tokens`,
    why,
    seqLen === model.context ? model.name : 'assumption',
  );
}

/** Tokens that the budget buys; undefined where it is in steps. */
function tokensOfBudget(
  { config, hardware }: PlanInputs,
  design: Design,
  corpora: readonly BlendCorpus[],
  blending: Blending,
): number | undefined {
  const { budget } = config;
  switch (budget.kind) {
    case 'tokens': {
      const options: CommonOptions = config.recipe.options;
      const fresh = corpora.filter((corpus) => corpus.role !== 'general');
      return options.replayTokens === 'added' && fresh.length > 0
        ? totalFor(fresh, budget.tokens, 'budget.tokens', design, corpora, blending)
        : budget.tokens;
    }
    case 'steps':
      return undefined;
    case 'minutes':
      if (!hardware?.tokensPerSecond)
        throw new ConfigError(
          'budget.minutes: the training speed of this machine is not known. Give budget.tokens, epochs or steps instead.',
        );
      return budget.minutes * 60 * hardware.tokensPerSecond;
    case 'epochs': {
      const domain = corpora.filter((corpus) => corpus.role === 'domain');
      const counted = domain.length > 0 ? domain : corpora;
      const numTokens = counted.reduce((sum, corpus) => sum + corpus.numTokens, 0);
      return totalFor(counted, budget.epochs * numTokens, 'budget.epochs', design, corpora, blending);
    }
    default:
      return budget satisfies never;
  }
}

/** Length of the run, in tokens, that draws `target` tokens from `counted`. */
function totalFor(
  counted: readonly BlendCorpus[],
  target: number,
  key: string,
  design: Design,
  corpora: readonly BlendCorpus[],
  blending: Blending,
): number {
  if (design.phases.some(({ begins }) => begins.kind === 'step' && begins.step > 0))
    throw new ConfigError(
      `${key}: phases that begin at a step need a run whose length does not depend on their blends. Give budget.steps, or begin them by lrShare or tokens.`,
    );
  const names = counted.map((corpus) => corpus.name);
  const schedule = makeSchedule(design.lr, GRID_STEPS);
  // Blends depend on the length of the run where a cap acts, so the length is found by bisection on what it draws.
  const drawn = (totalTokens: number) => {
    const phases = makePhases(design, schedule, totalTokens / GRID_STEPS, corpora, blending);
    return names.reduce((sum, name) => sum + tokensOf(phases, name), 0);
  };
  let low = target;
  let high = target;
  while (drawn(high) < target) {
    low = high;
    high *= 2;
    if (high > target * 1e6)
      throw new ConfigError(
        `${key}: the blend gives ${names.slice(0, 3).join(', ')} no share, so no length of the run reaches this. Give budget.steps.`,
      );
  }
  for (let i = 0; i < 60 && high - low > 1; i++) {
    const middle = (low + high) / 2;
    if (drawn(middle) < target) low = middle;
    else high = middle;
  }
  return high;
}

/** Steps of phases with sequences of their own length may be so many longest sequences long before such lengths are refused. */
const MAX_STEP_OF_LENGTHS = 4;

/** The fewest tokens that sequences of each of these lengths make up exactly. @throws ConfigError for lengths that do not go together */
function commonTokens(lengths: readonly number[]): number {
  const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));
  const tokens = lengths.reduce((all, length) => (all / divisor(all, length)) * length);
  if (tokens > MAX_STEP_OF_LENGTHS * Math.max(...lengths))
    throw new ConfigError(
      `recipe.phases: sequences of ${lengths.join(' and ')} tokens make up equal steps from ${tokens} tokens on alone. Choose lengths of which the longer are multiples of the shorter.`,
    );
  return tokens;
}

/**
 * Sequences a step, of the first length; whole sequences of every length make up the step.
 * @param lengths of the run's sequences, and of those of phases with their own
 */
function chooseBatch(
  { config, model }: PlanInputs,
  design: Design,
  lengths: readonly number[],
  budgetTokens: number | undefined,
) {
  const seqLen = lengths[0]!;
  // Every rank of the PyTorch engine takes as many sequences.
  const ranks = config.engine.name === 'torch' ? config.engine.gpus * config.engine.nodes : 1;
  const unit = commonTokens(lengths) * ranks;
  const tokens = (sequences: number) =>
    `${formatCount(sequences * seqLen)} tokens (${sequences} ${sequences === 1 ? 'sequence' : 'sequences'} of ${seqLen})`;
  const { batchTokens } = config.training;
  if (batchTokens !== undefined) {
    if (batchTokens < unit)
      throw new ConfigError(
        ranks > 1
          ? `training.batchTokens: expected at least ${unit}, so that each of ${ranks} GPUs has a part of a step, found ${batchTokens}. Raise it, lower training.seqLen, or take fewer GPUs.`
          : lengths.length === 1
            ? `training.batchTokens: expected at least one sequence (${seqLen} tokens), found ${batchTokens}. Raise it, or lower training.seqLen.`
            : `training.batchTokens: expected at least ${unit}, so that a step is made of whole sequences of ${lengths.join(' and of ')} tokens alike, found ${batchTokens}. Raise it, or lower the longest of recipe.phases.`,
      );
    const sequences = (Math.floor(batchTokens / unit) * unit) / seqLen;
    const why =
      sequences * seqLen === batchTokens
        ? 'as you set it'
        : `as you set it (${batchTokens}), in whole sequences${lengths.length === 1 ? '' : ' of every length'}${ranks > 1 ? ` for each of ${ranks} GPUs` : ''}`;
    return { value: sequences, reason: { what: 'tokens a step', value: tokens(sequences), why, source: FROM_FILE } };
  }
  const pretrained = model.pretraining?.batchTokens;
  const most = Math.max(pretrained ?? MAX_BATCH_TOKENS, MIN_BATCH_TOKENS);
  const affordable = budgetTokens === undefined ? BATCH_TOKENS_OF_A_STEP_BUDGET : budgetTokens / design.minSteps;
  const target = Math.max(MIN_BATCH_TOKENS, Math.min(most, affordable));
  const isBound = target === pretrained;
  const units = isBound
    ? Math.max(1, Math.round(target / unit))
    : Math.max(1, 2 ** Math.floor(Math.log2(target / unit)));
  const sequences = (units * unit) / seqLen;
  // A step has a part for every GPU, whatever else is wanted.
  const isLeast = units === 1 && ranks > 1 && unit > target;
  const why = isLeast
    ? `the least that ${ranks} GPUs can share, a sequence each${pretrained ? ` (pretraining had ${formatCount(pretrained)}${model.pretraining?.finalLr === 0 ? '' : '; the LR is not rescaled for that'})` : ''}; fewer GPUs would make more steps`
    : isBound
      ? "pretraining's batch: only the LR schedule and the data change"
      : `${budgetTokens === undefined ? 'a small step, since the budget is in steps' : `so that the budget makes ${design.minSteps} steps or more, from ${formatCount(MIN_BATCH_TOKENS)} to ${formatCount(most)} tokens a step`}${pretrained ? ` (pretraining had ${formatCount(pretrained)}${model.pretraining?.finalLr === 0 ? '' : '; the LR is not rescaled for that'})` : ''}`;
  return {
    value: sequences,
    reason: {
      what: 'tokens a step',
      value: tokens(sequences),
      why,
      source: isBound && !isLeast ? bothSources('Parmar et al. 2024', model.pretraining!.source) : 'assumption',
    },
  };
}

/** Of phases whose sequences have a length of their own. */
function explainLengths(run: Batch, phases: readonly PlanPhase[]): Reason[] {
  return phases.flatMap(({ name, seqLen }) => {
    if (seqLen === undefined) return [];
    const { sequencesPerStep, sequencesPerMicroBatch } = cutSteps(run, seqLen);
    return {
      what: `sequence length, "${name}"`,
      value: `${seqLen} tokens, ${sequencesPerStep} a step, ${sequencesPerMicroBatch} a pass`,
      why: 'as you set it; a step has as many tokens in every phase, so an LR means the same',
      source: FROM_FILE,
    };
  });
}

function explainSteps({ config }: PlanInputs, numSteps: number, tokensPerStep: number, totalTokens: number): Reason {
  const { budget } = config;
  const asked = {
    tokens: () => `${formatCount((budget as { tokens: number }).tokens)} tokens`,
    epochs: () => `${(budget as { epochs: number }).epochs} epochs of the domain`,
    steps: () => `${(budget as { steps: number }).steps} steps`,
    minutes: () => `${(budget as { minutes: number }).minutes} minutes at the known speed`,
  }[budget.kind]();
  const rounding = budget.kind === 'steps' ? '' : ', rounded down to whole steps';
  return {
    what: 'length',
    value: `${numSteps} steps, ${formatCount(totalTokens)} tokens`,
    why: `a budget of ${asked}${rounding} of ${formatCount(tokensPerStep)} tokens`,
    source: FROM_FILE,
  };
}

function fitsMemory({ hardware }: PlanInputs, { totalBytes }: MemoryEstimate): boolean {
  return hardware?.memoryBytes === undefined || totalBytes <= hardware.memoryBytes * MAX_MEMORY_SHARE;
}

/** @param memoryOf with layers run again, or kept, at the smallest pass */
function chooseRecompute(inputs: PlanInputs, memoryOf: (recomputes: boolean) => MemoryEstimate) {
  const isNeeded = !fitsMemory(inputs, memoryOf(false));
  return chosen<Recompute>(
    'recomputation',
    inputs.config.training.recompute,
    isNeeded,
    (value) => (value === 'selective' ? value : value ? 'on' : 'off'),
    isNeeded
      ? `kept activations would take ${formatBytes(memoryOf(false).totalBytes)} in all, and ${formatBytes(inputs.hardware!.memoryBytes!)} may be used: each layer is run again on the way back, a third more work for the same result`
      : 'the activations fit into the memory, and to run each layer again is a third more work',
    'counted',
  );
}

function chooseMicroBatch(
  inputs: PlanInputs,
  sequencesPerStep: number,
  seqLen: number,
  memoryOf: (sequences: number) => MemoryEstimate,
) {
  const { config, hardware, model } = inputs;
  const given = config.training.microBatch;
  if (given !== undefined && sequencesPerStep % given !== 0)
    throw new ConfigError(
      `training.microBatch: expected a divisor of the ${sequencesPerStep} sequences of a step, found ${given}.`,
    );
  const fits = (sequences: number) => fitsMemory(inputs, memoryOf(sequences));
  let best = 1;
  for (let n = 1; n <= sequencesPerStep && n * seqLen <= MICRO_BATCH_TOKENS; n++)
    if (sequencesPerStep % n === 0 && fits(n)) best = n;
  return chosen(
    'sequences a pass',
    given,
    best,
    String,
    `up to ${formatCount(MICRO_BATCH_TOKENS)} tokens a forward pass${hardware?.memoryBytes ? ', within the memory' : ''}: more is no faster on a CPU and takes memory. The result does not depend on it, but for rounding${model.experts ? ' and the load-balancing loss, which is that of each pass' : ''}`,
    'assumption',
  );
}

function chooseRouterLosses(
  training: Config['training'],
  { balanceLoss }: ExpertFacts,
  take: <T>(choice: { value: T; reason: Reason }) => T,
): NonNullable<Plan['routers']> {
  return {
    balance: take(
      chosen(
        'load-balancing loss',
        training.routerAuxLoss,
        balanceLoss,
        String,
        'router_aux_loss_coef; without it few experts may come to do all the work',
        "the model's config.json",
      ),
    ),
    z: take(
      chosen(
        'router z-loss',
        training.routerZLoss,
        0,
        String,
        "none; 0.001 keeps the routers' logits small, should training become unstable",
        'Zoph et al. 2022 (from memory, unverified)',
      ),
    ),
  };
}

function refuseRouterLosses(training: Config['training']): void {
  for (const key of ['routerAuxLoss', 'routerZLoss'] as const)
    if (training[key] !== undefined)
      throw new ConfigError(`training.${key}: this model has no experts, so it has no routers. Remove the key.`);
}

function chooseEvaluateEvery(config: Config, numSteps: number, tokensPerStep: number, evalTokens: number) {
  const affordable = Math.ceil((evalTokens * FORWARD_SHARE) / (MAX_EVAL_SHARE * tokensPerStep));
  return chosen(
    'measured every',
    config.evaluate.everySteps,
    Math.min(numSteps, Math.max(usualInterval(numSteps), affordable)),
    steps,
    'also before the first step and after the last; seldom enough to take about a tenth of the time at most',
    'assumption',
  );
}

/** How often something is done by default, in steps. */
function usualInterval(numSteps: number): number {
  return Math.max(1, Math.min(Math.max(100, Math.ceil(numSteps / 100)), Math.ceil(numSteps / 5)));
}

function steps(n: number): string {
  return `${n} steps`;
}

/** LR of adapters over that of embeddings that are trained in full beside them, where none is given. */
const ADAPTER_TO_EMBEDDING_LR = 10;

function planLora(
  given: LoraConfig | GivenLoraConfig | undefined,
  adapter: AdapterFacts | undefined,
  peakLr: number,
  reasons: Reason[],
): Plan['lora'] {
  if (!given) return undefined;
  const from = 'from' in given ? given.from : undefined;
  const lora: LoraConfig = 'from' in given ? { ...adapter!, lr: given.lr } : given;
  const { rank, targets, rsLora = false, dora = false, embeddings = false, lr } = lora;
  const alpha = lora.alpha ?? 2 * rank;
  const scale = alpha / (rsLora ? Math.sqrt(rank) : rank);
  reasons.push({
    what: 'LoRA',
    value: `rank ${rank}, scale ${Number(scale.toPrecision(3))}, ${targets ? targets.join(', ') : 'every matrix of the layers'}${embeddings ? ', embeddings in full' : ''}`,
    why: from
      ? `that of ${from}, which is trained on`
      : `the rank is yours; ${lora.alpha === undefined ? 'alpha is twice the rank; ' : ''}LoRA learns less than full training and forgets less`,
    source: 'Hu et al. 2021; Biderman et al. 2024 (arXiv 2405.09673)',
  });
  if (dora)
    reasons.push({
      what: 'DoRA',
      value: 'on',
      why: "as you set it: each row's length is learned by itself, the adapters learn its direction; a step costs about as much again as the adapters alone",
      source: `${FROM_FILE}; Liu et al. 2024 (arXiv 2402.09353)`,
    });
  if (lr !== undefined)
    reasons.push({ what: "adapters' LR", value: formatLr(lr), why: 'their peak, as you set it', source: FROM_FILE });
  return {
    ...{ rank, alpha, ...(targets ? { targets } : {}), rsLora, ...(dora ? { dora } : {}), embeddings },
    ...(lr === undefined ? {} : { lrFactor: lr / peakLr }),
    ...(from && { from }),
  };
}

function expectations(phases: readonly PlanPhase[], corpora: readonly BlendCorpus[], totalTokens: number) {
  const exact = corpora.map((corpus) => tokensOf(phases, corpus.name));
  const whole = splitWhole(
    totalTokens,
    exact.map((tokens) => tokens / totalTokens),
  );
  return {
    tokensByCorpus: Object.fromEntries(corpora.map((corpus, i) => [corpus.name, whole[i]!])),
    epochsByCorpus: Object.fromEntries(corpora.map((corpus, i) => [corpus.name, whole[i]! / corpus.numTokens])),
  };
}
