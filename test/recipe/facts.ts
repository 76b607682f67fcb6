// Facts about a model and corpora that the tests of the recipe share.
import { parseConfig } from '../../src/config/index.ts';
import type { CorpusFacts, ModelFactsForPlan, PlanInputs } from '../../src/recipe/index.ts';

export const MODEL: ModelFactsForPlan = {
  name: 'small-base',
  numParameters: 8_000_000,
  numNonEmbedding: 6_000_000,
  context: 512,
  vocabSize: 8192,
  hidden: 256,
  isInstruct: false,
  isInstructWhy: 'no chat template',
  pretraining: { finalLr: 2e-4, peakLr: 2e-3, tokens: 100e6, batchTokens: 32_768, source: 'config.json' },
};

/** About what this model takes. */
export const countMemory: PlanInputs['countMemory'] = ({ batch, seqLen, precision, ema, recompute }) => ({
  stateBytes: MODEL.numParameters * (ema ? 20 : 16),
  numTrained: MODEL.numParameters,
  activationBytes: (batch * seqLen * (precision === 'bf16' ? 60_000 : 120_000)) / (recompute ? 6 : 1),
});

/** About what a model takes on each GPU: 16 bytes a parameter among them, and activations of so many bytes a token. */
export const gpuMemoryOf =
  (numParameters: number, bytesPerToken: number): PlanInputs['countWorkerMemory'] =>
  ({ ranks, batch, seqLen, recompute }) => {
    const counted = {
      weightBytes: (4 * numParameters) / ranks,
      gradientBytes: (4 * numParameters) / ranks,
      momentBytes: (8 * numParameters) / ranks,
      besideBytes: 0,
      gatheredBytes: 0,
      activationBytes: (batch * seqLen * bytesPerToken) / (recompute === true ? 10 : recompute ? 3 : 1),
      logitBytes: 0,
    };
    return { ...counted, totalBytes: Object.values(counted).reduce((sum, bytes) => sum + bytes, 0) };
  };

export function corpus(
  name: string,
  role: CorpusFacts['role'],
  numTokens: number,
  heldOutTokens = 100_000,
): CorpusFacts {
  return {
    ...{ name, role, numTokens },
    numDocuments: Math.ceil(numTokens / 1000),
    numBytes: numTokens * 4,
    heldOut: { numTokens: heldOutTokens, numDocuments: heldOutTokens > 0 ? 50 : 0 },
  };
}

export const HANDBOOK = corpus('handbook', 'domain', 4_000_000);
export const WEB = corpus('web', 'general', 20_000_000);
export const QA = corpus('qa', 'instruction', 1_000_000);

/** Inputs whose configuration names the given corpora; `more` is further YAML, which may hold recipe and budget. */
export function inputs(
  corpora: readonly CorpusFacts[] = [HANDBOOK, WEB],
  more = 'budget: { tokens: 4M }',
  model = MODEL,
): PlanInputs {
  const entries = corpora.map(({ name, role }) => `  ${name}: { path: ${name}, role: ${role} }\n`).join('');
  return {
    config: parseConfig(`name: demo\nmodel: owner/small-base\ncorpora:\n${entries}${more}\n`, '/nowhere/continuo.yaml'),
    model,
    corpora,
    countMemory,
    countWorkerMemory: gpuMemoryOf(MODEL.numParameters, 60_000),
  };
}

export const NEW_MODEL =
  'model: { new: { hidden: 256, layers: 8, heads: 4, kvHeads: 2, ffn: 704, context: 512, vocab: 8192 } }';

export function newModelInputs(
  corpora: readonly CorpusFacts[],
  more = 'budget: { tokens: 100M }',
  weights: Record<string, number> = {},
): PlanInputs {
  const weightOf = (name: string) => (name in weights ? `, weight: ${weights[name]}` : '');
  const entries = corpora
    .map(({ name, role }) => `  ${name}: { path: ${name}, role: ${role}${weightOf(name)} }\n`)
    .join('');
  const model = { ...MODEL, name: 'new', pretraining: undefined };
  return {
    config: parseConfig(`name: base\n${NEW_MODEL}\ncorpora:\n${entries}${more}\n`, '/nowhere/continuo.yaml'),
    model,
    corpora,
    countMemory,
    countWorkerMemory: gpuMemoryOf(MODEL.numParameters, 60_000),
  };
}
