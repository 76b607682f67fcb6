// What a plan costs: floating-point operations, and from them time, memory and money on a number of GPUs. Estimates for a decision, good
// to about a third; this machine's own time is measured (plan.expected.seconds).
import type { Recompute } from '../config/index.ts';
import { FORWARD_SHARE, heldOutTokens, numEvaluations } from './evaluation.ts';
import { fitOn, type GpuFit } from './fit.ts';
import { penaltyOf } from './guards.ts';
import { type Cluster, DEFAULT_GPU, type Gpu, PRICE_SOURCE } from './hardware.ts';
import { longestSeqLen, meanSeqLen } from './phases.ts';
import { modelsBeside, tokensReadTwice } from './token-losses.ts';
import type { HardwareFacts, ModelFactsForPlan, Plan, PlanInputs } from './types.ts';

export interface FlopsPerToken {
  /** Products of activations by weights. */
  matrices: number;
  /** Scores and their sums over values. */
  attention: number;
}

/** To run the layers again on the way back costs one forward pass more; selectively, a bit over half of that (docs/torch.md). */
const recomputeFactor = (recompute: Recompute) => (recompute === true ? 4 / 3 : recompute ? 1 + 0.55 / 3 : 1);
/** Share of the peak that training reaches. Llama 3 405B had 38 to 43 % on 8,192 to 16,384 H100s; the middle. */
export const UTILISATION = 0.4;
const UTILISATION_SOURCE = 'assumption: 40 % of the peak; Llama 3 405B reached 38 to 43 % (arXiv 2407.21783, Table 4)';
const utilisationOf = ({ utilisation }: Gpu) => utilisation ?? { share: UTILISATION, source: UTILISATION_SOURCE };
/** Width below which products are too small to fill a GPU. Assumption. */
const SMALL_WIDTH = 1024;
/**
 * Operations to train on one token, forward and backward. Matrices: 6 a parameter that the token passes, without the input embedding
 * (a look-up) and with the output projection, tied or not (Kaplan et al. 2020, section 2.1); frozen ones have no gradient of their own
 * and cost 4, though where all below is frozen, too, it is nearer to 2. Attention: a token sees half a sequence on average; 2 products of its width a key, twice as many on the way back.
 */
export function trainFlopsPerToken(model: ModelFactsForPlan, seqLen: number, trainedShare = 1): FlopsPerToken {
  const { numParameters, numNonEmbedding, vocabSize, hidden, experts, numLayers = 0, attentionWidth = 0 } = model;
  const idle = experts ? numParameters - experts.numActive : 0;
  const passed = numNonEmbedding - idle + vocabSize * hidden;
  return { matrices: (4 + 2 * trainedShare) * passed, attention: 6 * numLayers * attentionWidth * seqLen };
}

function flopsPerToken(model: ModelFactsForPlan, seqLen: number, trainedShare?: number): number {
  const { matrices, attention } = trainFlopsPerToken(model, seqLen, trainedShare);
  return matrices + attention;
}

/** Of the model's own weights. */
function trainedShare(model: ModelFactsForPlan, { lora, freeze, numTrained }: Plan): number {
  if (lora) return 0;
  return freeze ? numTrained! / model.numParameters : 1;
}

/** What a token costs over the run, as a multiple of what it costs in sequences of the run's own length: 1 where no phase has another. */
export function workOfLengths(model: ModelFactsForPlan, plan: Plan): number {
  const share = trainedShare(model, plan);
  return flopsPerToken(model, meanSeqLen(plan), share) / flopsPerToken(model, plan.seqLen, share);
}

export interface Work {
  trainFlops: number;
  /** All measurements of held-out text. */
  evalFlops: number;
}

export function countWork(inputs: PlanInputs, plan: Plan): Work {
  const scored = heldOutTokens(plan.corpora, plan.evaluation.tokensPerSet) * (plan.ema === undefined ? 1 : 2);
  return {
    trainFlops:
      plan.totalTokens * flopsPerToken(inputs.model, meanSeqLen(plan), trainedShare(inputs.model, plan)) +
      tokensReadTwice(plan) * flopsPerToken(inputs.model, meanSeqLen(plan)) * FORWARD_SHARE,
    evalFlops: numEvaluations(plan) * scored * flopsPerToken(inputs.model, plan.seqLen) * FORWARD_SHARE,
  };
}

export interface GpuCost {
  /** The user asked for these; else they are to compare. */
  isAsked: boolean;
  gpu: string;
  numGpus: number;
  /** GPUs that have a sequence of their own in a step. */
  numBusy: number;
  seconds: number;
  /** Of each GPU. */
  fit: GpuFit;
  /** What one has, bytes. */
  memoryBytes: number;
  /** Tokens a second of all, while they train. */
  tokensPerSecond: number;
  /** US dollars. */
  pricePerHour: number;
  dollars: number;
  /** Share of the peak that is reached. */
  utilisation: number;
  /** Of peak and memory, of the utilisation, of the price. */
  sources: string[];
  note?: string;
}

export interface CostEstimate extends Work {
  /** This machine, at the speed that the plan's time is of. Absent where the plan is for GPUs. */
  here?: { pricePerHour: number; dollars: number };
  /** The GPUs that were asked about, else one H100 or as many as are needed, to compare. */
  gpus: GpuCost;
}

/** What a plan costs on this machine, and on the GPUs of `inputs.on` or on H100s. */
export function estimateCost(inputs: PlanInputs, plan: Plan): CostEstimate {
  const work = countWork(inputs, plan);
  const { on, pricePerHour } = inputs;
  const { seconds } = plan.expected;
  const isHerePriced = !on && pricePerHour !== undefined && seconds !== undefined;
  const costOn = (cluster: Cluster) => costOnGpus(inputs, plan, work, cluster, on ? pricePerHour : undefined);
  const one = costOn(on ?? { gpu: DEFAULT_GPU, count: 1 });
  return {
    ...work,
    ...(isHerePriced ? { here: { pricePerHour, dollars: (seconds / 3600) * pricePerHour } } : {}),
    // What nobody asked about is compared with as many as it fits on.
    gpus: on || one.fit.fits || !one.fit.leastGpus ? one : costOn({ gpu: DEFAULT_GPU, count: one.fit.leastGpus }),
  };
}

/** GPUs that share out weights, gradients and moments fully (FSDP), as the PyTorch engine does. */
function costOnGpus(
  inputs: PlanInputs,
  plan: Plan,
  work: Work,
  cluster: Cluster,
  givenPrice: number | undefined,
): GpuCost {
  const { gpu, count } = cluster;
  const seqLen = longestSeqLen(plan);
  const fewestSequences = plan.tokensPerStep / seqLen;
  const { microBatch, recompute } = inputs.config.training;
  const fit = fitOn(inputs, cluster, trainingOf(plan, seqLen), {
    ...(inputs.on && { microBatch }),
    recompute,
  });
  const numBusy = Math.min(count, fewestSequences);
  const trainFlops = work.trainFlops * recomputeFactor(fit.recompute);
  const speed = numBusy * gpu.peakFlops * utilisationOf(gpu).share;
  const seconds = (trainFlops + work.evalFlops) / speed;
  const pricePerHour = givenPrice ?? gpu.pricePerHour;
  const notes = [
    ...(gpu.note === undefined ? [] : [gpu.note]),
    ...(inputs.model.hidden < SMALL_WIDTH
      ? ['a model this narrow keeps a GPU less busy than assumed: expect several times this']
      : []),
    ...(inputs.on ? unevenly(fewestSequences, count, seqLen) : []),
  ];
  return {
    isAsked: inputs.on !== undefined,
    gpu: gpu.name,
    numGpus: count,
    numBusy,
    seconds,
    fit,
    memoryBytes: gpu.memoryBytes,
    tokensPerSecond: Math.round((plan.totalTokens * speed) / trainFlops),
    pricePerHour,
    dollars: (seconds / 3600) * count * pricePerHour,
    utilisation: utilisationOf(gpu).share,
    sources: [gpu.source, utilisationOf(gpu).source, givenPrice === undefined ? PRICE_SOURCE : 'price: as you gave it'],
    ...(notes.length === 0 ? {} : { note: notes.join('; ') }),
  };
}

/** What decides how much memory a plan takes on GPUs, in sequences of this length. */
function trainingOf({ precision, lora, freeze, ema, guard, selectTokens, tokensPerStep }: Plan, seqLen: number) {
  return {
    ...{ precision, lora, freeze, seqLen },
    ema: ema !== undefined,
    penalty: penaltyOf(guard),
    ...modelsBeside(guard?.distill, selectTokens),
    sequencesPerStep: tokensPerStep / seqLen,
  };
}

function unevenly(sequences: number, count: number, seqLen: number): string[] {
  if (sequences < count)
    return [
      `a step has only ${sequences} sequences, so ${count - sequences} GPUs stand idle; the PyTorch engine refuses that: set training.batchTokens to a multiple of ${count * seqLen}`,
    ];
  return sequences % count === 0
    ? []
    : [
        `a step's ${sequences} sequences cannot be divided among ${count} GPUs, which the PyTorch engine refuses: set training.batchTokens to a multiple of ${count * seqLen}`,
      ];
}

/** Speed to plan with where a plan is for GPUs: all of them busy, no layer run again. */
export function clusterSpeed(model: ModelFactsForPlan, { gpu, count }: Cluster): HardwareFacts {
  const { matrices } = trainFlopsPerToken(model, 0);
  return {
    tokensPerSecond: Math.round((count * gpu.peakFlops * utilisationOf(gpu).share) / matrices),
    source: `${count} x ${gpu.name}: ${gpu.source}; ${utilisationOf(gpu).source}`,
  };
}
