// Pitfalls of the model and the shape of training: what it cannot do, hold or keep.
import { formatBytes, formatCount } from '../../base/units.ts';
import { longestSeqLen } from '../phases.ts';
import { listed, type Pitfall } from './pitfall.ts';

export const contextLongerThanTrained: Pitfall = {
  id: 'context-longer-than-trained',
  severity: 'error',
  source:
    'Peng et al. 2023 (YaRN), Table 1: beyond the trained length the loss rises without a change of the position embedding',
  check({ model }, plan) {
    const seqLen = longestSeqLen(plan);
    if (plan.preset === 'from-scratch' || seqLen <= model.context) return undefined;
    return {
      message: 'Sequences are longer than the model was ever trained on.',
      evidence: `sequences of ${seqLen}, the model's context ${model.context}`,
      fix: `Set training.seqLen${plan.phases.some((phase) => phase.seqLen) ? ' and the seqLen of each phase' : ''} to ${model.context} or less.`,
    };
  },
};

export const documentsNotApart: Pitfall = {
  id: 'documents-not-apart',
  severity: 'warning',
  source: 'the names of its tensors; before it trains, the PyTorch engine finds out by a pass',
  check({ model }) {
    if (model.carriesState === undefined) return undefined;
    return {
      message:
        'Documents that stand in one sequence are not kept apart: layers of this model carry what they read from one document into the next.',
      evidence: `${model.carriesState}, and others like it`,
      fix: 'Let a sequence hold few documents (training.packing: best-fit, and training.seqLen near their length). Held-out scores depend on what stands before a document, alike before and after training.',
    };
  },
};

export const bringsOwnCode: Pitfall = {
  id: 'brings-own-code',
  severity: 'warning',
  source: 'config.json, auto_map',
  check({ config: { engine }, model }) {
    if (!model.ownCode || engine.name !== 'torch') return undefined;
    const files = model.ownCode.join(', ');
    return engine.trustRemoteCode
      ? {
          severity: 'note',
          message: "This model's own code is run, with all that this user may do, on every machine of the run.",
          evidence: `${files}; engine.torch.trustRemoteCode is true`,
          fix: 'Read the files, and fix their revision (owner/name@commit).',
        }
      : {
          message:
            'This model brings code of its own, which is not run: where transformers does not know the model, training will be refused.',
          evidence: files,
          fix: 'Read the files; if you trust them, set engine: { torch: { trustRemoteCode: true } }.',
        };
  },
};

export const instructModelOnRawText: Pitfall = {
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

export const doesNotFit: Pitfall = {
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
        : `${plan.recompute === true ? 'Lower' : 'Set training.recompute: true, or lower'} training.microBatch (now ${plan.sequencesPerMicroBatch}) or training.seqLen (now ${plan.seqLen}), or take a smaller model.`,
    };
  },
};

/** Assumption: LRs were found for pretraining's batch, and are not rescaled. */
const MAX_BATCH_FACTOR = 2;

export const batchLargerThanPretraining: Pitfall = {
  id: 'batch-larger-than-pretraining',
  severity: 'warning',
  source:
    'Parmar et al. 2024: only the LR schedule and the data change, batch and optimizer stay; the bound: assumption',
  check({ model }, { tokensPerStep, preset }) {
    const before = model.pretraining?.batchTokens;
    if (preset === 'from-scratch' || !before || tokensPerStep <= MAX_BATCH_FACTOR * before) return undefined;
    return {
      message:
        "The batch is much larger than pretraining's, for which the LR was found: there are fewer, not larger, steps.",
      evidence: `${formatCount(tokensPerStep)} tokens a step, pretraining had ${formatCount(before)}`,
      fix: `Lower training.batchTokens to ${formatCount(before)}.`,
    };
  },
};

/** Biderman et al. 2024: continued pretraining needed rank 256; a bound for much text. Assumption. */
const SMALL_RANK = 64;
const MUCH_TEXT = 50e6;

export const loraRankTooLow: Pitfall = {
  id: 'lora-rank-too-low',
  severity: 'warning',
  source:
    'Biderman et al. 2024 (arXiv 2405.09673): rank 256 reached .224 where full training had .263 (code, 20B tokens)',
  check(_inputs, { lora, totalTokens }) {
    if (!lora || lora.rank >= SMALL_RANK || totalTokens < MUCH_TEXT) return undefined;
    return {
      message: 'The adapters are small for this much text: they are full before it is read.',
      evidence: `LoRA of rank ${lora.rank}, ${formatCount(totalTokens)} tokens`,
      fix: 'Raise training.lora.rank to 128 or 256 (with rsLora: true), or train all weights.',
    };
  },
};

/** Documents are so many sequences long, on average. Assumption. */
const MANY_SEQUENCES = 4;

export const documentsCut: Pitfall = {
  id: 'documents-cut',
  severity: 'note',
  source: 'arithmetic: a token sees only its own sequence',
  check({ corpora, model }, { expected, ...plan }) {
    const seqLen = longestSeqLen(plan);
    if (seqLen >= model.context) return undefined;
    const long = corpora.filter(
      ({ name, role, numTokens, numDocuments }) =>
        role !== 'evaluation' &&
        (expected.tokensByCorpus[name] ?? 0) > 0 &&
        numTokens / Math.max(1, numDocuments) > MANY_SEQUENCES * seqLen,
    );
    if (long.length === 0) return undefined;
    return {
      message: 'Documents are much longer than the sequences that they are cut into, although the model can read more.',
      evidence: `${listed(
        long.map(
          ({ name, numTokens, numDocuments }) => `${name}: ${formatCount(numTokens / numDocuments)} tokens a document`,
        ),
      )}; sequences of ${seqLen}, the model's context ${model.context}`,
      fix: 'Raise training.seqLen, if the memory allows.',
    };
  },
};
