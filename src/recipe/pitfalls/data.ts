// Pitfalls of the data: what is mixed, repeated, missing, or in the wrong place.
import { formatCount } from '../../base/units.ts';
import { formatShare } from '../learning-rates.ts';
import { shareInPhase } from '../phases.ts';
import { lrAt } from '../schedules.ts';
import type { CorpusFacts, Plan } from '../types.ts';
import { listed, type Pitfall } from './pitfall.ts';

const MAX_EPOCHS = 4;
/** Half a percent already counts: it undid more than half of a weak shift's forgetting (Ibrahim et al. 2024: 2.44 to 2.27, base 2.17). */
const MIN_REPLAY = 0.005;

function trainedOn(corpora: readonly CorpusFacts[], plan: Plan): CorpusFacts[] {
  return corpora.filter(({ name }) => (plan.expected.tokensByCorpus[name] ?? 0) > 0);
}

function tokensOfRole(corpora: readonly CorpusFacts[], plan: Plan, role: CorpusFacts['role']): number {
  return corpora.reduce(
    (sum, corpus) => sum + (corpus.role === role ? (plan.expected.tokensByCorpus[corpus.name] ?? 0) : 0),
    0,
  );
}

export const noReplay: Pitfall = {
  id: 'no-replay',
  severity: 'warning',
  source:
    'Ibrahim et al. 2024, 405M: 1 % replay halves the rise of the general loss after German (3.56 to 2.83, base 2.17)',
  check(inputs, plan) {
    if (plan.preset === 'from-scratch') return undefined;
    const general = inputs.corpora.filter((corpus) => corpus.role === 'general');
    const tokens = tokensOfRole(inputs.corpora, plan, 'general');
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

export const ewcInsteadOfReplay: Pitfall = {
  id: 'ewc-instead-of-replay',
  severity: 'note',
  source:
    'Li et al. 2025 (TiC-LM, arXiv 2504.02107), 3B: half replay reached retraining, EWC was hardly better than plain training',
  check({ corpora }, plan) {
    const tokens = tokensOfRole(corpora, plan, 'general');
    if (!plan.guard?.ewc || tokens >= MIN_REPLAY * plan.totalTokens) return undefined;
    return {
      message:
        'EWC guards alone, although there is general text: over a long run replay of it kept more, and both together go well.',
      evidence: `general text: ${formatShare(tokens / plan.totalTokens)} of ${formatCount(plan.totalTokens)} tokens`,
      fix: 'Raise recipe.replay; keep guard.ewc beside it.',
    };
  },
};

/** Below this the general loss rises steeply: Que et al. 2024, Table 5. */
const LITTLE_REPLAY = 0.04;

export const littleReplay: Pitfall = {
  id: 'little-replay',
  severity: 'note',
  source:
    'Que et al. 2024 (D-CPT, arXiv 2406.01375), Table 5, 1.8B: from 94 to 100 % domain cost 0.48 nats of general loss for 0.01 of domain loss',
  check({ corpora }, plan) {
    const share = tokensOfRole(corpora, plan, 'general') / plan.totalTokens;
    if (plan.preset === 'from-scratch' || share < MIN_REPLAY || share >= LITTLE_REPLAY) return undefined;
    return {
      message:
        'There is little general text: the last few percent of domain text cost the most of what the model knew.',
      evidence: `general text: ${formatShare(share)} of ${formatCount(plan.totalTokens)} tokens`,
      fix: 'Raise recipe.replay to 5 % or more, unless the domain is near to what the model was trained on.',
    };
  },
};

/** Question and answer text in the part of the run with the highest LR. Assumption; a few percent throughout are common practice. */
const MAX_EARLY_INSTRUCTION = 0.05;

export const instructionAtHighestLr: Pitfall = {
  id: 'qa-at-highest-lr',
  severity: 'warning',
  source:
    'Parmar et al. 2024, Tables 4 and 9: question and answer text late 54.3, throughout 53.4, its blend from the first step 52.8',
  check({ corpora, model }, { phases, schedule, preset }) {
    const [first] = phases;
    if (model.isInstruct || preset === 'from-scratch' || schedule.kind === 'constant' || !first) return undefined;
    const share = corpora
      .filter((corpus) => corpus.role === 'instruction')
      .reduce((sum, corpus) => sum + shareInPhase(first, corpus.name), 0);
    const others = corpora.some(({ role, name }) => role !== 'instruction' && shareInPhase(first, name) > 0);
    if (share <= MAX_EARLY_INSTRUCTION || !others) return undefined;
    return {
      message:
        'Question and answer text comes at the highest LR: an abrupt change that teaches less than the same text late.',
      evidence: `${formatShare(share)} of "${first.name}", which begins with the run`,
      fix: 'Use reuse-dont-retrain, which brings it when the LR has fallen to a fifth, or begin its phase later.',
    };
  },
};

export const tooManyEpochs: Pitfall = {
  id: 'too-many-epochs',
  severity: 'warning',
  source: 'Muennighoff et al. 2023 (from memory, unverified); RegMix caps at 4 epochs as well',
  check(_inputs, plan) {
    const over = Object.entries(plan.expected.epochsByCorpus).filter(([, epochs]) => epochs > MAX_EPOCHS + 0.005);
    if (over.length === 0) return undefined;
    const worst = Math.max(...over.map(([, epochs]) => epochs));
    return {
      message: `Text is repeated more than ${MAX_EPOCHS} times: it will be learned by heart rather than understood.`,
      evidence: listed(over.map(([name, epochs]) => `${name}: ${epochs.toFixed(1)} epochs`)),
      fix: `Lower the budget to about ${formatCount((plan.totalTokens * MAX_EPOCHS) / worst)} tokens, or add text.`,
    };
  },
};

export const budgetLargerThanData: Pitfall = {
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

export const evaluationDataInTraining: Pitfall = {
  id: 'evaluation-data-in-training',
  severity: 'warning',
  source: 'principle: what is trained on measures nothing',
  check({ config, corpora }, plan) {
    const namesOf = (list: readonly { name: string }[]) => new Set(list.map(({ name }) => name));
    const given = (names: ReadonlySet<string>) => config.corpora.filter(({ name }) => names.has(name));
    const trained = given(namesOf(trainedOn(corpora, plan)));
    for (const measured of given(namesOf(corpora.filter(({ role }) => role === 'evaluation'))))
      for (const other of trained) {
        const shared = measured.paths.find((path) => other.paths.includes(path));
        if (shared)
          return {
            message: 'The same files are trained on and measured with.',
            evidence: `${shared} is in ${other.name} and in ${measured.name}`,
            fix: `Take it out of one of them. (Documents that are equal, word for word, are left out of training; such files leave ${other.name} without them.)`,
          };
      }
    return undefined;
  },
};

/** Bytes a token of the domain against those of general text. Assumption. */
const FRAGMENTED = 0.75;

export const tokenizerFragmentsDomain: Pitfall = {
  id: 'tokenizer-fragments-domain',
  severity: 'warning',
  source: 'arithmetic: the same text costs more tokens, in training and in every use; the bound: assumption',
  check({ corpora }, plan) {
    const bytesPerToken = (role: CorpusFacts['role']) => {
      const ofRole = trainedOn(corpora, plan).filter((corpus) => corpus.role === role);
      const tokens = ofRole.reduce((sum, corpus) => sum + corpus.numTokens, 0);
      return tokens > 0 ? ofRole.reduce((sum, corpus) => sum + corpus.numBytes, 0) / tokens : undefined;
    };
    const [domain, general] = [bytesPerToken('domain'), bytesPerToken('general')];
    if (plan.preset === 'from-scratch' || domain === undefined || general === undefined) return undefined;
    if (domain >= FRAGMENTED * general) return undefined;
    return {
      message:
        "The model's tokenizer cuts the domain into small pieces: its documents cost more tokens, and are learned less well.",
      evidence: `${domain.toFixed(2)} bytes a token in the domain, ${general.toFixed(2)} in general text`,
      fix: 'Train longer than the number of tokens suggests, or take a model whose tokenizer knows this kind of text.',
    };
  },
};

/** Synthetic continued pretraining began where raw text ended: 1.3M tokens of raw text taught an 8B model nothing. Bounds: assumption. */
const FEW_TOKENS = 10e6;
const LARGE_MODEL = 1e9;

export const corpusTooSmallForFacts: Pitfall = {
  id: 'corpus-too-small-for-facts',
  severity: 'note',
  source:
    'Yang et al. 2024 (EntiGraph, arXiv 2409.07431): raw text of 1.3M tokens no better than the base (39.5), 455M tokens of texts made from it 56.2',
  check({ corpora, model }, plan) {
    const domain = trainedOn(corpora, plan).filter((corpus) => corpus.role === 'domain');
    const tokens = domain.reduce((sum, corpus) => sum + corpus.numTokens, 0);
    if (domain.length === 0 || tokens >= FEW_TOKENS || model.numParameters < LARGE_MODEL) return undefined;
    return {
      message:
        'The documents are few: the model will take on their style and words, but read once or twice in one wording, few of their facts.',
      evidence: `${formatCount(tokens)} tokens of domain text for ${formatCount(model.numParameters)} parameters`,
      fix: 'Say the same in many ways: questions and answers about the documents (role: instruction), paraphrases. For looking facts up, retrieval does better.',
    };
  },
};

export const instructWithoutChatTemplate: Pitfall = {
  id: 'instruct-without-chat-template',
  severity: 'warning',
  source: "practice: what shall be kept must be trained in the form in which it is used; the model's chat template",
  check({ corpora, model }, plan) {
    const plain = trainedOn(corpora, plan).filter(
      (corpus) => corpus.role === 'instruction' && corpus.hasChatMarkup === false,
    );
    if (!model.isInstruct || plain.length === 0) return undefined;
    return {
      message:
        "Instruction text does not have the form of the model's chat template, so it does not train what chats use.",
      evidence: `${listed(plain.map(({ name }) => name))}: plain text`,
      fix: 'Give it as conversations: JSON lines with messages: [{ role, content }], question and answer, or instruction and output; they are written by the template.',
    };
  },
};

/** Assumption: the paper's runs fall to a hundredth of the peak and less; "moderate" decay keeps a third. */
const MODERATE_DECAY = 0.3;

export const orderMeetsDecay: Pitfall = {
  id: 'order-meets-decay',
  severity: 'warning',
  source:
    'arXiv 2511.18903, abstract: text in the order of its quality helps at a constant LR, and the gain shrinks under decay',
  check({ config }, { schedule, numSteps, expected, ema }) {
    const ordered = config.corpora.filter(({ name, order }) => order && (expected.tokensByCorpus[name] ?? 0) > 0);
    const last = lrAt(schedule, numSteps - 1) / schedule.peakLr;
    if (ordered.length === 0 || ema !== undefined || last >= MODERATE_DECAY) return undefined;
    return {
      message:
        'What comes last in the order is learned at the lowest LR: the decay takes from what the order is to give.',
      evidence: `${listed(ordered.map(({ name, order }) => `${name} by ${order!.by}, ${order!.first} first`))}; the LR ends at ${formatShare(last)} of its peak`,
      fix: `Let the LR fall less (a floor of a third of the peak), or average the weights instead (training.ema: 0.999).`,
    };
  },
};

export const orderNotReadToItsEnd: Pitfall = {
  id: 'order-not-read-to-its-end',
  severity: 'warning',
  source: 'arithmetic',
  check({ config }, { expected }) {
    const cut = config.corpora.filter(({ name, order }) => {
      const epochs = expected.epochsByCorpus[name] ?? 0;
      return order && epochs > 0 && epochs < 0.99;
    });
    if (cut.length === 0) return undefined;
    return {
      message:
        'An ordered corpus is not read to its end: what comes last in its order is never seen, so the order selects.',
      evidence: listed(cut.map(({ name }) => `${name}: ${formatShare(expected.epochsByCorpus[name]!)} of it are read`)),
      fix: 'Raise the budget, or cut the corpus first (limits of bitsPerByte or ifd, `continuo data select`), or leave its order out.',
    };
  },
};
