// What is published about the pretraining of well-known open models: LRs, tokens, batch. A checkpoint does not record these, and the
// start LR of a continuation follows from them. A row is found by its hub id, or by the shape in config.json where only a folder is known.
//
// Every number was read in the source that its row names; what is marked "unverified" is from memory. What is not published is left
// out: unknown stays unknown. A final LR of 0 is what it says: the schedule ended there.
import type { PretrainingFacts } from './types.ts';

/** The numbers of config.json by which a model without a name is recognised. */
export interface ModelShape {
  modelType: string;
  hidden: number;
  layers: number;
  vocab: number;
  /** max_position_embeddings. */
  context: number;
}

export interface KnownModel {
  name: string;
  /** Hub id, base and tuned models of the family alike; $1, $2 in `base` and `instruct` stand for its groups. */
  id: RegExp;
  shape?: Partial<ModelShape> & { modelType: string };
  /** Hub id of the base model, and of the one that follows instructions. */
  base?: string;
  instruct?: string;
  peakLr?: number;
  finalLr?: number;
  tokens?: number;
  batchTokens?: number;
  /** Length of the sequences of pretraining, before an extension of the context. */
  seqLen?: number;
  source: string;
}

/** A row a size of a family: what they share, and what differs. */
function family<K extends keyof KnownModel>(
  shared: Pick<KnownModel, K>,
  rows: readonly (Omit<KnownModel, K> & Partial<KnownModel>)[],
): KnownModel[] {
  return rows.map((row) => ({ ...shared, ...row }) as KnownModel);
}

function exact(id: string): RegExp {
  return new RegExp(`^${id}$`, 'i');
}

const PYTHIA = 'EleutherAI/pythia, models/*.yml (lr, min_lr, train-iters)';
const SMOLLM = 'huggingface/smollm, text/pretraining';
const OLMO = 'allenai/OLMo, configs/official';
const BLOOM =
  'bigscience-workshop/bigscience, train/tr11-176B-ml: the schedule runs over 410B tokens and training stopped before, so the final LR is not known';
const CEREBRAS = 'Cerebras/modelzoo, gpt3/configs/Cerebras_GPT';
const DEEPSEEK = 'deepseek-ai/DeepSeek-LLM, README: multi-step schedule down to 10 % of the maximum';
const LLAMA_1 = 'Touvron et al. 2023 (arXiv 2302.13971), Table 2; cosine to 10 % of the maximum';
const LLAMA_2 = "Meta's model card of Llama 2 (LR, batch, tokens); cosine to 10 % of the peak (arXiv 2307.09288)";
const LLAMA_3 = 'Llama 3 report (arXiv 2407.21783), Table 3: peak LR; the final LR of this size is not published';

export const KNOWN_MODELS: readonly KnownModel[] = [
  ...family({ batchTokens: 4e6, seqLen: 2048, source: LLAMA_1 }, [
    llama1('7b', 4096, 32, { peakLr: 3e-4, finalLr: 3e-5, tokens: 1e12 }),
    llama1('13b', 5120, 40, { peakLr: 3e-4, finalLr: 3e-5, tokens: 1e12 }),
    llama1('30b', 6656, 60, { peakLr: 1.5e-4, finalLr: 1.5e-5, tokens: 1.4e12 }),
    llama1('65b', 8192, 80, { peakLr: 1.5e-4, finalLr: 1.5e-5, tokens: 1.4e12 }),
  ]),
  ...family({ tokens: 2e12, batchTokens: 4e6, seqLen: 4096, source: LLAMA_2 }, [
    llama2('7b', 4096, 32, { peakLr: 3e-4, finalLr: 3e-5 }),
    llama2('13b', 5120, 40, { peakLr: 3e-4, finalLr: 3e-5 }),
    llama2('70b', 8192, 80, { peakLr: 1.5e-4, finalLr: 1.5e-5 }),
  ]),
  ...family({ tokens: 15e12, seqLen: 8192, source: LLAMA_3 }, [
    llama3('8B', 4096, 32, { peakLr: 3e-4 }),
    llama3('70B', 8192, 80, { peakLr: 1.5e-4 }),
    llama3('405B', 16_384, 126, {
      peakLr: 8e-5,
      tokens: 15.6e12,
      finalLr: 0,
      source:
        'Llama 3 report (arXiv 2407.21783), Table 3; annealed to 0 over the last 40M tokens (as an account of it says)',
    }),
  ]),
  {
    name: 'Llama 3.3 70B',
    id: exact('meta-llama/Llama-3\\.3-70B-Instruct'),
    base: 'meta-llama/Llama-3.1-70B',
    instruct: 'meta-llama/Llama-3.3-70B-Instruct',
    peakLr: 1.5e-4,
    tokens: 15e12,
    seqLen: 8192,
    source: `${LLAMA_3}; Llama 3.3 is Llama 3.1 70B tuned again (from memory, unverified)`,
  },
  {
    name: 'Llama 3.2 1B and 3B',
    id: /^meta-llama\/Llama-3\.2-(1B|3B)(-Instruct)?$/i,
    base: 'meta-llama/Llama-3.2-$1',
    instruct: 'meta-llama/Llama-3.2-$1-Instruct',
    tokens: 9e12,
    source: "Meta's model card of Llama 3.2 (up to 9T tokens, distilled from Llama 3.1); its LRs are not published",
  },
  ...family({ batchTokens: 2048 * 512, seqLen: 2048, finalLr: 0 }, [
    smollm('SmolLM', '135M', 576, 30, { peakLr: 3e-3, tokens: 629e9 }),
    smollm('SmolLM', '360M', 960, 32, { peakLr: 3e-3, tokens: 629e9 }),
    smollm('SmolLM', '1.7B', 2048, 24, { peakLr: 5e-4, tokens: 1.05e12, batchTokens: 2048 * 1024 }),
    smollm('SmolLM2', '135M', 576, 30, { peakLr: 3e-3, tokens: 2.1e12 }),
    smollm('SmolLM2', '360M', 960, 32, { peakLr: 3e-3, tokens: 4.09e12, batchTokens: 2048 * 768 }),
    smollm('SmolLM2', '1.7B', 2048, 24, { peakLr: 5e-4, tokens: 10.99e12, batchTokens: 2048 * 1024 }),
  ]),
  {
    name: 'SmolLM3 3B',
    id: exact('HuggingFaceTB/SmolLM3-3B(?:-Base)?'),
    base: 'HuggingFaceTB/SmolLM3-3B-Base',
    instruct: 'HuggingFaceTB/SmolLM3-3B',
    shape: { modelType: 'smollm3', hidden: 2048, layers: 36 },
    peakLr: 2e-4,
    finalLr: 0,
    tokens: 11.2e12,
    batchTokens: 2_359_296,
    seqLen: 4096,
    source: `${SMOLLM}/smollm3: linear to 0 over the last tenth, then longer sequences at 2e-5 and again to 0`,
  },
  ...family({ tokens: 299.9e9, batchTokens: 2_097_152, seqLen: 2048, source: PYTHIA }, [
    pythia('14m', 128, 6, 1e-3),
    pythia('31m', 256, 6, 1e-3),
    pythia('70m', 512, 6, 1e-3),
    pythia('160m', 768, 12, 6e-4),
    pythia('410m', 1024, 24, 3e-4),
    { ...pythia('1b', 2048, 16, 2.5e-4), source: `${PYTHIA}; its README says 3e-4, the file that was run 2.5e-4` },
    pythia('1.4b', 2048, 24, 2e-4),
    pythia('2.8b', 2560, 32, 1.6e-4),
    pythia('6.9b', 4096, 32, 1.2e-4),
    pythia('12b', 5120, 36, 1.2e-4),
  ]),
  {
    name: 'GPT-NeoX-20B',
    id: exact('EleutherAI/gpt-neox-20b'),
    shape: { modelType: 'gpt_neox', hidden: 6144, layers: 44 },
    peakLr: 9.7e-5,
    finalLr: 9.7e-6,
    tokens: 472e9,
    batchTokens: 3_145_728,
    seqLen: 2048,
    source: 'EleutherAI/gpt-neox, configs/20B.yml',
  },
  {
    name: 'OLMo 1B',
    id: exact('allenai/OLMo-1B(?:-hf)?'),
    shape: { modelType: 'olmo', hidden: 2048, layers: 16, context: 2048 },
    peakLr: 4e-4,
    tokens: 3.1e12,
    batchTokens: 2048 * 2048,
    seqLen: 2048,
    source: `${OLMO}-0724/OLMo-1B.yaml: cosine towards a tenth; the LR of its last step is not stated`,
  },
  {
    name: 'OLMo 7B',
    id: exact('allenai/OLMo-7B(?:-hf)?'),
    shape: { modelType: 'olmo', hidden: 4096, layers: 32, context: 2048 },
    peakLr: 3e-4,
    finalLr: 0,
    tokens: 2.46e12,
    batchTokens: 2048 * 2048,
    seqLen: 2048,
    source: `${OLMO}-0724/OLMo-7B.yaml: linear to a tenth; then to 0 over 1000 steps (arXiv 2402.00838, as an account of it says); 2.46T tokens from memory, unverified`,
  },
  ...family({ seqLen: 4096, finalLr: 0 }, [
    olmo2('0425-1B', 2048, 16, {
      peakLr: 4e-4,
      tokens: 4.05e12,
      batchTokens: 512 * 4096,
      source: `${OLMO}-0425: cosine towards a tenth, then 50B tokens from 7.4e-5 to 0`,
    }),
    olmo2('1124-7B', 4096, 32, {
      peakLr: 3e-4,
      tokens: 3.95e12,
      batchTokens: 1024 * 4096,
      source: `${OLMO}-1124: cosine towards a tenth, then 50B tokens from 6.1e-5 to 0`,
    }),
    olmo2('1124-13B', 5120, 40, {
      peakLr: 9e-4,
      tokens: 5.3e12,
      batchTokens: 2048 * 4096,
      source: `${OLMO}-1124: the second stage goes from 9e-5, a tenth of 9e-4, to 0 (the file of the first stage says 3e-4; arXiv 2501.00656 says 9e-4, from memory, unverified)`,
    }),
    olmo2('0325-32B', 5120, 64, {
      peakLr: 6e-4,
      tokens: 6.4e12,
      batchTokens: 2048 * 4096,
      source: 'allenai/OLMo-core, scripts/official/OLMo2: cosine, then 100B to 300B tokens linearly to 0',
    }),
  ]),
  {
    name: 'OLMoE 1B-7B',
    id: /^allenai\/OLMoE-1B-7B-(0924|0125)(?:-Instruct)?$/i,
    base: 'allenai/OLMoE-1B-7B-$1',
    instruct: 'allenai/OLMoE-1B-7B-$1-Instruct',
    shape: { modelType: 'olmoe', hidden: 2048, layers: 16 },
    peakLr: 4e-4,
    finalLr: 0,
    tokens: 5.1e12,
    batchTokens: 1024 * 4096,
    seqLen: 4096,
    source:
      'allenai/OLMoE, configs/OLMoE-1B-7B-0924.yml: cosine towards a tenth; the last 100B tokens linearly to 0 (arXiv 2409.02060, as an account of it says)',
  },
  {
    name: 'TinyLlama 1.1B',
    id: /^TinyLlama\/TinyLlama-1\.1B-(?:intermediate-step-1431k-3T|Chat-v[\d.]+|step-.*)$/i,
    base: 'TinyLlama/TinyLlama-1.1B-intermediate-step-1431k-3T',
    instruct: 'TinyLlama/TinyLlama-1.1B-Chat-v1.0',
    shape: { modelType: 'llama', hidden: 2048, layers: 22, vocab: 32_000, context: 2048 },
    peakLr: 4e-4,
    finalLr: 4e-5,
    tokens: 3e12,
    batchTokens: 2048 * 1024,
    seqLen: 2048,
    source:
      'jzhang38/TinyLlama, pretrain/tinyllama.py and README (which names a small error of its schedule, issue 27)',
  },
  {
    name: 'Amber 7B',
    id: exact('LLM360/Amber(?:Chat|Safe)?'),
    base: 'LLM360/Amber',
    instruct: 'LLM360/AmberChat',
    shape: { modelType: 'llama', hidden: 4096, layers: 32, vocab: 32_000, context: 2048 },
    peakLr: 3e-4,
    finalLr: 3e-5,
    tokens: 1.26e12,
    seqLen: 2048,
    source: 'LLM360/amber-train, main.py',
  },
  {
    name: 'OpenLLaMA 7B and 13B',
    id: /^openlm-research\/open_llama_(7b|13b)(?:_v2)?$/i,
    peakLr: 3e-4,
    finalLr: 3e-5,
    tokens: 1e12,
    batchTokens: 4e6,
    seqLen: 2048,
    source: `openlm-research/open_llama, README: hyperparameters as in LLaMA; ${LLAMA_1}`,
  },
  ...family({ tokens: 2e12, seqLen: 4096, source: DEEPSEEK }, [
    deepseek('7b', 4096, 30, { peakLr: 4.2e-4, finalLr: 4.2e-5, batchTokens: 2304 * 4096 }),
    deepseek('67b', 8192, 95, { peakLr: 3.2e-4, finalLr: 3.2e-5, batchTokens: 4608 * 4096 }),
  ]),
  {
    name: 'StableLM 3B 4E1T',
    id: exact('stabilityai/stablelm-3b-4e1t'),
    shape: { modelType: 'stablelm', hidden: 2560, layers: 32, vocab: 50_304 },
    peakLr: 3.2e-4,
    finalLr: 1.28e-5,
    tokens: 4e12,
    batchTokens: 4 * 2 ** 20,
    seqLen: 4096,
    source: 'Stability-AI/StableLM, configs/stablelm-3b-4e1t.yml',
  },
  {
    name: 'DCLM 7B',
    id: /^(?:apple\/DCLM-7B|mlfoundations\/dclm-7b-it|TRI-ML\/DCLM-7B.*)$/i,
    shape: { modelType: 'openlm' },
    peakLr: 2e-3,
    finalLr: 3e-5,
    batchTokens: 2048 * 2048,
    seqLen: 2048,
    source: 'mlfoundations/dclm, training/configs and exp_data/models of its 7B runs (lr=0p002, cd=3e-05, bs=2048)',
  },
  ...family({ seqLen: 2048, source: BLOOM }, [
    bloom('560m', 1024, 24, { peakLr: 3e-4, batchTokens: 256 * 2048 }),
    bloom('1b1', 1536, 24, { peakLr: 2.5e-4, batchTokens: 256 * 2048 }),
    bloom('1b7', 2048, 24, { peakLr: 2e-4, batchTokens: 512 * 2048 }),
    bloom('3b', 2560, 30, { peakLr: 1.6e-4, batchTokens: 512 * 2048 }),
    bloom('7b1', 4096, 30, { peakLr: 1.2e-4, batchTokens: 512 * 2048 }),
    { ...bloom('', 14_336, 70, { peakLr: 6e-5, batchTokens: 2048 * 2048 }), name: 'BLOOM 176B' },
  ]),
  ...family({ seqLen: 2048, source: CEREBRAS }, [
    cerebras('111M', 768, 10, { peakLr: 6e-4, finalLr: 6e-5, tokens: 2.2e9, batchTokens: 120 * 2048 }),
    cerebras('256M', 1088, 14, { peakLr: 6e-4, finalLr: 6e-5, tokens: 5.1e9, batchTokens: 264 * 2048 }),
    cerebras('590M', 1536, 18, { peakLr: 2e-4, finalLr: 2e-5, tokens: 11.8e9, batchTokens: 264 * 2048 }),
    cerebras('1.3B', 2048, 24, { peakLr: 2e-4, finalLr: 2e-5, tokens: 26.3e9, batchTokens: 528 * 2048 }),
    cerebras('2.7B', 2560, 32, { peakLr: 2e-4, finalLr: 2e-5, tokens: 53e9, batchTokens: 528 * 2048 }),
    cerebras('6.7B', 4096, 32, { peakLr: 1.2e-4, finalLr: 1.2e-5, tokens: 133e9, batchTokens: 1040 * 2048 }),
    cerebras('13B', 5120, 40, { peakLr: 1.2e-4, finalLr: 1.2e-5, tokens: 257e9, batchTokens: 1080 * 2048 }),
  ]),
  {
    name: 'Nemotron-4 15B',
    id: /^nvidia\/Nemotron-4-15B/i,
    shape: { modelType: 'nemotron', hidden: 6144, layers: 32, vocab: 256_000 },
    peakLr: 4.5e-4,
    finalLr: 4.5e-5,
    tokens: 8e12,
    batchTokens: 1152 * 4096,
    seqLen: 4096,
    source: 'Parmar et al. 2024 (arXiv 2407.07263), as two accounts of it give them',
  },
  {
    name: 'Phi-4 14B',
    id: exact('microsoft/phi-4'),
    instruct: 'microsoft/phi-4',
    shape: { modelType: 'phi3', hidden: 5120, layers: 40, vocab: 100_352 },
    peakLr: 3e-4,
    tokens: 9.8e12,
    source:
      'Phi-4 report (arXiv 2412.08905), as accounts of it give it: linear warm-up and decay; the final LR is not stated, no base model is published',
  },
  {
    name: 'Falcon 7B',
    id: /^tiiuae\/falcon-7b(-instruct)?$/i,
    base: 'tiiuae/falcon-7b',
    instruct: 'tiiuae/falcon-7b-instruct',
    shape: { modelType: 'falcon', hidden: 4544, layers: 32 },
    peakLr: 6e-4,
    finalLr: 1.2e-5,
    tokens: 1.5e12,
    batchTokens: 2304 * 2048,
    seqLen: 2048,
    source: "TII's model card of Falcon-7B",
  },
  {
    name: 'Falcon 40B',
    id: /^tiiuae\/falcon-40b(-instruct)?$/i,
    base: 'tiiuae/falcon-40b',
    instruct: 'tiiuae/falcon-40b-instruct',
    shape: { modelType: 'falcon', hidden: 8192, layers: 60 },
    peakLr: 1.85e-4,
    finalLr: 1.85e-5,
    tokens: 1e12,
    batchTokens: 1152 * 2048,
    seqLen: 2048,
    source: "TII's model card of Falcon-40B",
  },
  // Families whose reports give no LRs: known as such, so that a plan says so instead of "not recorded".
  unpublished('GPT-2', /^(?:openai-community\/)?gpt2(?:-medium|-large|-xl)?$/i),
  unpublished('Llama 4', /^meta-llama\/Llama-4/i),
  unpublished('Qwen 1.5 and 2', /^Qwen\/Qwen(1\.5|2)-([\d.]+B(?:-A[\d.]+B)?)(?:-(?:Instruct|Chat))?$/i, {
    base: 'Qwen/Qwen$1-$2',
  }),
  unpublished('Qwen2.5', /^Qwen\/Qwen2\.5-((?:Coder-|Math-)?[\d.]+B)(?:-Instruct)?$/i, {
    base: 'Qwen/Qwen2.5-$1',
    instruct: 'Qwen/Qwen2.5-$1-Instruct',
  }),
  unpublished('Qwen3', /^Qwen\/Qwen3-([\d.]+B(?:-A[\d.]+B)?)(?:-Base)?$/i, {
    base: 'Qwen/Qwen3-$1-Base',
    instruct: 'Qwen/Qwen3-$1',
  }),
  unpublished('Gemma 1 and 2', /^google\/gemma-((?:2-)?\d+b)(?:-it)?$/i, {
    base: 'google/gemma-$1',
    instruct: 'google/gemma-$1-it',
  }),
  unpublished('Gemma 3', /^google\/gemma-3-(\d+[bm])-(?:it|pt)$/i, {
    base: 'google/gemma-3-$1-pt',
    instruct: 'google/gemma-3-$1-it',
  }),
  unpublished('Mistral 7B', /^mistralai\/Mistral-7B-(?:Instruct-)?v(0\.\d)$/i, {
    base: 'mistralai/Mistral-7B-v$1',
    instruct: 'mistralai/Mistral-7B-Instruct-v$1',
  }),
  unpublished('Mixtral', /^mistralai\/Mixtral-(8x\d+B)-(?:Instruct-)?v0\.1$/i, {
    base: 'mistralai/Mixtral-$1-v0.1',
    instruct: 'mistralai/Mixtral-$1-Instruct-v0.1',
  }),
  unpublished('Phi-3', /^microsoft\/Phi-3(?:\.5)?-/i, { instruct: 'microsoft/Phi-3-mini-4k-instruct' }),
  unpublished('MPT', /^mosaicml\/mpt-(7b|30b)(?:-instruct|-chat)?$/i, {
    base: 'mosaicml/mpt-$1',
    instruct: 'mosaicml/mpt-$1-instruct',
  }),
  unpublished('StarCoder2', /^bigcode\/starcoder2-(?:3b|7b|15b)$/i),
];

type Numbers = Pick<KnownModel, 'peakLr' | 'finalLr' | 'tokens' | 'batchTokens'> & { source?: string };

function llama1(size: string, hidden: number, layers: number, numbers: Numbers) {
  const id = new RegExp(`^(?:huggyllama|meta-llama|decapoda-research|yahma)/llama-${size}(?:-hf)?$`, 'i');
  const shape = { modelType: 'llama', hidden, layers, vocab: 32_000, context: 2048 };
  return { name: `LLaMA ${size}`, id, shape, ...numbers };
}

function llama2(size: string, hidden: number, layers: number, numbers: Numbers) {
  return {
    name: `Llama 2 ${size}`,
    id: new RegExp(`^(?:meta-llama|NousResearch)/Llama-2-${size}(?:-chat)?(?:-hf)?$`, 'i'),
    base: `meta-llama/Llama-2-${size}-hf`,
    instruct: `meta-llama/Llama-2-${size}-chat-hf`,
    shape: { modelType: 'llama', hidden, layers, vocab: 32_000, context: 4096 },
    ...numbers,
  };
}

function llama3(size: string, hidden: number, layers: number, numbers: Numbers) {
  return {
    name: `Llama 3 and 3.1 ${size}`,
    id: new RegExp(`^(?:meta-llama|NousResearch)/(?:Meta-)?Llama-3(\\.1)?-${size}(?:-Instruct)?$`, 'i'),
    base: `meta-llama/Meta-Llama-3$1-${size}`,
    instruct: `meta-llama/Meta-Llama-3$1-${size}-Instruct`,
    shape: { modelType: 'llama', hidden, layers, vocab: 128_256 },
    ...numbers,
  };
}

function smollm(line: 'SmolLM' | 'SmolLM2', size: string, hidden: number, layers: number, numbers: Numbers) {
  return {
    name: `${line} ${size}`,
    id: exact(`HuggingFaceTB/${line}-${size.replace('.', '\\.')}(?:-Instruct)?(?:-v0\\.2)?`),
    base: `HuggingFaceTB/${line}-${size}`,
    instruct: `HuggingFaceTB/${line}-${size}-Instruct`,
    shape: { modelType: 'llama', hidden, layers, vocab: 49_152, context: line === 'SmolLM' ? 2048 : 8192 },
    source: `${SMOLLM}/${line.toLowerCase()}: constant, then ${line === 'SmolLM' ? '1-sqrt' : 'linear'} decay to 0`,
    ...numbers,
  };
}

function pythia(size: string, hidden: number, layers: number, peakLr: number) {
  return {
    name: `Pythia ${size}`,
    id: exact(`EleutherAI/pythia-${size.replace('.', '\\.')}(?:-deduped)?(?:-v0)?`),
    shape: { modelType: 'gpt_neox', hidden, layers, context: 2048 },
    peakLr,
    finalLr: Number((peakLr / 10).toPrecision(3)),
  };
}

function olmo2(size: string, hidden: number, layers: number, numbers: Numbers & { source: string }) {
  return {
    name: `OLMo 2 ${size}`,
    id: exact(`allenai/OLMo-2-${size}(?:-SFT|-DPO|-RLVR1|-Instruct)?`),
    base: `allenai/OLMo-2-${size}`,
    instruct: `allenai/OLMo-2-${size}-Instruct`,
    shape: { modelType: 'olmo2', hidden, layers },
    ...numbers,
  };
}

function deepseek(size: string, hidden: number, layers: number, numbers: Numbers) {
  return {
    name: `DeepSeek LLM ${size}`,
    id: exact(`deepseek-ai/deepseek-llm-${size}-(?:base|chat)`),
    base: `deepseek-ai/deepseek-llm-${size}-base`,
    instruct: `deepseek-ai/deepseek-llm-${size}-chat`,
    shape: { modelType: 'llama', hidden, layers, vocab: 102_400 },
    ...numbers,
  };
}

function bloom(size: string, hidden: number, layers: number, numbers: Numbers) {
  const name = size === '' ? 'bloom' : `bloom-${size}`;
  return {
    name: `BLOOM ${size}`,
    id: exact(`bigscience/${name}`),
    base: `bigscience/${name}`,
    shape: { modelType: 'bloom', hidden, layers },
    ...numbers,
  };
}

function cerebras(size: string, hidden: number, layers: number, numbers: Numbers) {
  return {
    name: `Cerebras-GPT ${size}`,
    id: exact(`cerebras/Cerebras-GPT-${size.replace('.', '\\.')}`),
    shape: { modelType: 'gpt2', hidden, layers, vocab: 50_257, context: 2048 },
    ...numbers,
  };
}

function unpublished(name: string, id: RegExp, siblings: { base?: string; instruct?: string } = {}): KnownModel {
  return { name, id, ...siblings, source: `${name}: its report gives no LRs (from memory, unverified)` };
}

export interface KnownFacts {
  /** Rows that the model may be; more than one only where its shape alone is known. */
  names: string[];
  pretraining: PretrainingFacts;
  /** Hub ids of its base model and of its tuned one, where these are known. */
  base?: string;
  instruct?: string;
}

/**
 * What is published about a model. By hub id where `name` is one; else by shape, and where several known models have this shape, by the
 * folder's name, or what all of them agree on.
 * @param name hub id, or the name of a folder or of a GGUF file
 */
export function knownModel(name: string, shape?: ModelShape): KnownFacts | undefined {
  const byId = KNOWN_MODELS.find((row) => row.id.test(name));
  if (byId) return { names: [byId.name], pretraining: pretrainingOf([byId], byId.source), ...siblings(byId, name) };
  const sameShape = shape ? KNOWN_MODELS.filter((row) => row.shape && hasShape(shape, row.shape)) : [];
  const folder = name.replace(/(?:[.-](?:I?Q\d\w*|B?F16|F32))?\.gguf$/i, '');
  for (const row of sameShape) {
    const id = OWNERS.map((owner) => `${owner}/${folder}`).find((candidate) => row.id.test(candidate));
    if (id === undefined) continue;
    const source = `${row.source}; recognised by the folder's name and shape`;
    return { names: [row.name], pretraining: pretrainingOf([row], source), ...siblings(row, id) };
  }
  if (sameShape.length === 0) return undefined;
  const names = sameShape.map((row) => row.name);
  const source = `${sameShape[0]!.source}; recognised by its shape alone as ${names.join(' or ')}`;
  return { names, pretraining: pretrainingOf(sameShape, source) };
}

/** A folder is often called like the repository that it came from, without its owner. */
const OWNERS = [
  ...['meta-llama', 'huggyllama', 'HuggingFaceTB', 'EleutherAI', 'allenai', 'TinyLlama', 'LLM360', 'cerebras'],
  ...['deepseek-ai', 'microsoft'],
];

/** What all rows agree on. */
function pretrainingOf(rows: readonly KnownModel[], source: string): PretrainingFacts {
  const facts: PretrainingFacts = { source, published: true };
  for (const key of ['finalLr', 'peakLr', 'tokens', 'batchTokens', 'seqLen'] as const) {
    const value = rows[0]![key];
    if (value !== undefined && rows.every((row) => row[key] === value)) facts[key] = value;
  }
  return facts;
}

function hasShape(found: ModelShape, wanted: Partial<ModelShape>): boolean {
  return (Object.keys(wanted) as (keyof ModelShape)[]).every((key) => found[key] === wanted[key]);
}

function siblings(row: KnownModel, id: string): { base?: string; instruct?: string } {
  const groups = row.id.exec(id);
  const fill = (template: string) => template.replaceAll(/\$(\d)/g, (_, i) => groups?.[Number(i)] ?? '');
  return {
    ...(row.base === undefined ? {} : { base: fill(row.base) }),
    ...(row.instruct === undefined ? {} : { instruct: fill(row.instruct) }),
  };
}
