// Known ways to waste a run, checked before it starts. One rule a pitfall: when it fires, with which numbers, and what to do.
import { formatBytes, formatCount } from '../base/units.ts';
import { formatLr, formatShare, pretrainingFinalLr } from './learning-rates.ts';
import type { Plan, PlanInputs, PlanWarning, Severity } from './types.ts';

interface Finding {
  message: string;
  evidence: string;
  fix: string;
  /** Where it differs from the rule's. */
  severity?: Severity;
}

interface Pitfall {
  id: string;
  severity: Severity;
  source: string;
  check: (inputs: PlanInputs, plan: Plan) => Finding | undefined;
}

const MAX_EPOCHS = 4;
/** Half a percent already counts: it undid more than half of a weak shift's forgetting (Ibrahim et al. 2024: 2.44 to 2.27, base 2.17). */
const MIN_REPLAY = 0.005;
const MIN_HELD_OUT_TOKENS = 20_000;
const MIN_HELD_OUT_DOCUMENTS = 10;

const noReplay: Pitfall = {
  id: 'no-replay',
  severity: 'warning',
  source:
    'Ibrahim et al. 2024, 405M: 1 % replay halves the rise of the general loss after German (3.56 to 2.83, base 2.17)',
  check(inputs, plan) {
    if (plan.preset === 'from-scratch') return undefined;
    const general = inputs.corpora.filter((corpus) => corpus.role === 'general');
    const tokens = general.reduce((sum, corpus) => sum + (plan.expected.tokensByCorpus[corpus.name] ?? 0), 0);
    if (tokens >= MIN_REPLAY * plan.totalTokens) return undefined;
    return {
      message: 'No general text is mixed in: the model will forget what it could do before.',
      evidence: `general text: ${formatShare(tokens / plan.totalTokens)} of ${formatCount(plan.totalTokens)} tokens`,
      fix:
        general.length === 0
          ? 'Add a corpus with role: general, near to what the model was trained on.'
          : 'Use the recipe reuse-dont-retrain, or raise recipe.replay.',
    };
  },
};

const lrAbovePretrainingFinal: Pitfall = {
  id: 'lr-above-pretraining-final',
  severity: 'warning',
  source: 'Parmar et al. 2024; Ibrahim et al. 2024 (re-warming adapts more and forgets more)',
  check({ config, model }, plan) {
    const final = pretrainingFinalLr(model);
    if (plan.preset === 'from-scratch' || !final.isRecorded || plan.schedule.peakLr <= final.lr * 1.001)
      return undefined;
    const { preset, options } = config.recipe;
    const isMeant =
      preset === 'rewarm-replay' ||
      (preset === 'reuse-dont-retrain' && options.startAt === 'middle' && options.peakLr === undefined);
    return {
      severity: isMeant ? 'note' : 'warning',
      message: `The LR starts above the one at which pretraining ended, which undoes its annealing${isMeant ? ' (as this recipe means to)' : ''}.`,
      evidence: `peak LR ${formatLr(plan.schedule.peakLr)}, pretraining's final LR ${formatLr(final.lr)}`,
      fix: isMeant
        ? 'Watch the general loss; raise recipe.replay if it stays high.'
        : `Remove recipe.peakLr, or set it to ${formatLr(final.lr)}; for a strong shift use the recipe rewarm-replay.`,
    };
  },
};

const embeddingLrAbovePeak: Pitfall = {
  id: 'embedding-lr-above-peak',
  severity: 'warning',
  source: "unsloth's guide to continued pretraining: 2 to 10 times below the LR (from memory, unverified)",
  check(_inputs, plan) {
    const { embeddingLrFactor } = plan.optimizer;
    if (embeddingLrFactor <= 1) return undefined;
    const { peakLr } = plan.schedule;
    return {
      message:
        'The embedding and output matrices learn faster than all other weights. training.embeddingLr is an LR, not a factor.',
      evidence: `embedding LR ${formatLr(peakLr * embeddingLrFactor)}, peak LR ${formatLr(peakLr)}`,
      fix: `Remove training.embeddingLr, or set it to ${formatLr(peakLr / 5)} or so.`,
    };
  },
};

/** LoRA's best LR over that of full training. */
const LORA_LR_FACTOR = 10;

const loraLrOfFullTraining: Pitfall = {
  id: 'lora-lr-of-full-training',
  severity: 'warning',
  source: 'Biderman et al. 2024 (arXiv 2405.09673): the best LR of LoRA is about ten times that of full training',
  check({ config }, { lora, schedule }) {
    const { options } = config.recipe;
    if (!lora || ('peakLr' in options && options.peakLr !== undefined)) return undefined;
    const usual = formatLr(LORA_LR_FACTOR * schedule.peakLr);
    return {
      message: 'The LR is one for full training; adapters learn too slowly with it.',
      evidence: `peak LR ${formatLr(schedule.peakLr)}, LoRA of rank ${lora.rank}`,
      fix: `Set recipe.peakLr to about ${usual}, and try a half and twice that.`,
    };
  },
};

const MAX_INITIAL_SHARE = 0.1;

const emaLongerThanRun: Pitfall = {
  id: 'ema-longer-than-run',
  severity: 'warning',
  source: 'arithmetic: decay to the power of the steps',
  check(_inputs, { ema, numSteps }) {
    const initialShare = (ema ?? 0) ** numSteps;
    if (initialShare <= MAX_INITIAL_SHARE) return undefined;
    return {
      message: 'The average of the weights will still hold much of the model that the run begins with.',
      evidence: `decay ${ema}, ${numSteps} steps: ${formatShare(initialShare)} of it`,
      fix: `Lower training.ema to ${Number(Math.max(0.5, 1 - 3 / numSteps).toPrecision(3))} or so, or take the average for what it is: a mixture with the old model.`,
    };
  },
};

const pretrainingLrUnknown: Pitfall = {
  id: 'pretraining-lr-unknown',
  severity: 'warning',
  source: 'assumption: a tenth of a usual peak LR for this size',
  check({ config, model }, plan) {
    const isKnown = model.pretraining?.finalLr !== undefined || model.pretraining?.peakLr !== undefined;
    if (plan.preset === 'from-scratch' || isKnown || config.recipe.options.peakLr !== undefined) return undefined;
    return {
      message:
        'The LR at which pretraining ended is not recorded with the model: the start LR is an ASSUMPTION from its size.',
      evidence: `peak LR ${formatLr(plan.schedule.peakLr)} for ${formatCount(model.numParameters)} parameters`,
      fix: "Look it up in the model's report and set recipe.peakLr. Watch the general loss over the first steps: a jump means it is too high.",
    };
  },
};

const tooManyEpochs: Pitfall = {
  id: 'too-many-epochs',
  severity: 'warning',
  source: 'Muennighoff et al. 2023 (from memory, unverified); RegMix caps at 4 epochs as well',
  check(_inputs, plan) {
    const over = Object.entries(plan.expected.epochsByCorpus).filter(([, epochs]) => epochs > MAX_EPOCHS + 0.005);
    if (over.length === 0) return undefined;
    const worst = Math.max(...over.map(([, epochs]) => epochs));
    return {
      message: `Text is repeated more than ${MAX_EPOCHS} times: it will be learned by heart rather than understood.`,
      evidence: over.map(([name, epochs]) => `${name}: ${epochs.toFixed(1)} epochs`).join(', '),
      fix: `Lower the budget to about ${formatCount((plan.totalTokens * MAX_EPOCHS) / worst)} tokens, or add text.`,
    };
  },
};

const noGeneralValidation: Pitfall = {
  id: 'no-general-validation',
  severity: 'error',
  source: 'principle of this program: forgetting is measured in every run',
  check({ corpora }, plan) {
    if (plan.preset === 'from-scratch') return undefined;
    const others = corpora.filter((corpus) => corpus.role === 'general' || corpus.role === 'evaluation');
    if (others.some((corpus) => corpus.heldOut.numTokens > 0)) return undefined;
    return {
      message: 'Nothing measures what the model forgets: there is no held-out general text.',
      evidence:
        others.length === 0
          ? 'no corpus has the role general or evaluation'
          : `nothing is held out of ${others.map((corpus) => corpus.name).join(', ')}`,
      fix: 'Add a corpus with role: general (trained on and measured) or role: evaluation (only measured); a hundred pages will do for measuring.',
    };
  },
};

const budgetLargerThanData: Pitfall = {
  id: 'budget-larger-than-data',
  severity: 'note',
  source: 'arithmetic',
  check({ corpora }, plan) {
    const used = corpora.filter((corpus) => (plan.expected.tokensByCorpus[corpus.name] ?? 0) > 0);
    const available = used.reduce((sum, corpus) => sum + corpus.numTokens, 0);
    if (plan.totalTokens <= available) return undefined;
    return {
      message: 'The budget is larger than all text together: some of it is read more than once.',
      evidence: `${formatCount(plan.totalTokens)} tokens to train on, ${formatCount(available)} tokens of text`,
      fix: 'Up to four passes cost little. Add text for more.',
    };
  },
};

const contextLongerThanTrained: Pitfall = {
  id: 'context-longer-than-trained',
  severity: 'error',
  source:
    'Peng et al. 2023 (YaRN), Table 1: beyond the trained length the loss rises without a change of the position embedding',
  check({ model }, plan) {
    if (plan.preset === 'from-scratch' || plan.seqLen <= model.context) return undefined;
    return {
      message: 'Sequences are longer than the model was ever trained on.',
      evidence: `training.seqLen ${plan.seqLen}, the model's context ${model.context}`,
      fix: `Set training.seqLen to ${model.context} or less.`,
    };
  },
};

const instructModelOnRawText: Pitfall = {
  id: 'instruct-model-on-raw-text',
  severity: 'warning',
  source:
    'arXiv 2410.10739: plain continued pretraining of an instruct model lost 10 points and more of IFEval at 1B tokens',
  check({ model, corpora }, plan) {
    const trained = corpora.filter((corpus) => (plan.expected.tokensByCorpus[corpus.name] ?? 0) > 0);
    if (!model.isInstruct || plan.preset === 'from-scratch' || trained.some((corpus) => corpus.role === 'instruction'))
      return undefined;
    return {
      message: 'This model was taught to follow instructions, and raw text alone will unteach it.',
      evidence: model.isInstructWhy,
      fix: 'Continue its base model instead, or add a corpus with role: instruction.',
    };
  },
};

const heldOutTooSmall: Pitfall = {
  id: 'held-out-too-small',
  severity: 'warning',
  source: 'arithmetic, with token losses that spread by about 2.5 nats (assumption)',
  check({ corpora }) {
    const small = corpora.filter(
      ({ heldOut }) =>
        heldOut.numTokens > 0 &&
        (heldOut.numTokens < MIN_HELD_OUT_TOKENS || heldOut.numDocuments < MIN_HELD_OUT_DOCUMENTS),
    );
    if (small.length === 0) return undefined;
    const least = Math.min(...small.map((corpus) => corpus.heldOut.numTokens));
    return {
      message: 'A held-out set is too small to tell a small change from chance.',
      evidence: `${small.map(({ name, heldOut }) => `${name}: ${formatCount(heldOut.numTokens)} tokens in ${heldOut.numDocuments} documents`).join('; ')}; standard error of the loss about ${(2.5 / Math.sqrt(least)).toFixed(3)} nats or more`,
      fix: `Hold out at least ${formatCount(MIN_HELD_OUT_TOKENS)} tokens and ${MIN_HELD_OUT_DOCUMENTS} documents: raise heldOut.share of that corpus (0.02 where you have not set it), and heldOut.tokens if that is what limits it.`,
    };
  },
};

const doesNotFit: Pitfall = {
  id: 'does-not-fit',
  severity: 'error',
  source: 'arithmetic on 16 bytes a parameter and the activations of one pass',
  check({ hardware }, plan) {
    const { stateBytes, totalBytes } = plan.expected.memory;
    if (hardware?.memoryBytes === undefined || totalBytes <= hardware.memoryBytes) return undefined;
    const { numParameters } = plan.model;
    const isStateTooLarge = stateBytes > hardware.memoryBytes;
    return {
      message: 'Training does not fit into the memory.',
      evidence: `about ${formatBytes(totalBytes)} needed, ${formatBytes(stateBytes)} of it for ${formatCount(numParameters)} parameters whatever the batch; ${formatBytes(hardware.memoryBytes)} may be used`,
      fix: isStateTooLarge
        ? 'Take a smaller model, or a machine or container with more memory.'
        : `${plan.recompute ? 'Lower' : 'Set training.recompute: true, or lower'} training.microBatch (now ${plan.sequencesPerMicroBatch}) or training.seqLen (now ${plan.seqLen}), or take a smaller model.`,
    };
  },
};

export const PITFALLS: readonly Pitfall[] = [
  noGeneralValidation,
  contextLongerThanTrained,
  doesNotFit,
  noReplay,
  lrAbovePretrainingFinal,
  embeddingLrAbovePeak,
  loraLrOfFullTraining,
  emaLongerThanRun,
  pretrainingLrUnknown,
  tooManyEpochs,
  instructModelOnRawText,
  heldOutTooSmall,
  budgetLargerThanData,
];

const ORDER: Record<Severity, number> = { error: 0, warning: 1, note: 2 };

/** What fires, gravest first. The plan's own `warnings` are not read. */
export function findPitfalls(inputs: PlanInputs, plan: Plan): PlanWarning[] {
  return PITFALLS.flatMap((pitfall): PlanWarning[] => {
    const finding = pitfall.check(inputs, plan);
    if (!finding) return [];
    const { id, source } = pitfall;
    return [
      {
        id,
        severity: finding.severity ?? pitfall.severity,
        message: finding.message,
        evidence: finding.evidence,
        fix: finding.fix,
        source,
      },
    ];
  }).sort((a, b) => ORDER[a.severity] - ORDER[b.severity]);
}
