// The stages that every command shares: model, corpora, plan. Each is kept in the cache beside the runs under the fingerprint of its inputs.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { makeFolder, readJson } from '../base/files.ts';
import { findGpus, memoryLimit } from '../base/machine.ts';
import { cacheFolder } from '../base/package.ts';
import { type Config, type CorpusRole, loadConfig } from '../config/index.ts';
import { nativeInfo } from '../kernels/index.ts';
import {
  type Cluster,
  clusterSpeed,
  explainPlan,
  gpuOfDevice,
  type HardwareFacts,
  type ModelFactsForPlan,
  makePlan,
  type Plan,
  type PlanInputs,
  parseCluster,
  withoutFound,
} from '../recipe/index.ts';
import { type PreparedCorpus, type PrepareOptions, prepareCorpus } from '../shards/index.ts';
import { cleanCorpora, withCleaned, writeDatasheets } from './corpora.ts';
import { expandedModel } from './expand.ts';
import { adapterFacts, corpusFacts, gpuMemoryCounter, memoryCounter, modelFacts } from './facts.ts';
import { withGenerated } from './generated.ts';
import { prepareModel, prepareReference } from './model.ts';
import { readFindings } from './probes/store.ts';
import { measureShift } from './shift.ts';
import { scoreCorpora } from './surprise.ts';
import type { PipelineOptions, PlanResult, StageRecord } from './types.ts';

/** Records how long each stage took and whether it was reused. */
export class Stages {
  readonly records: StageRecord[] = [];

  async run<T>(name: string, body: () => Promise<{ value: T; reused: boolean }>): Promise<T> {
    const start = performance.now();
    const { value, reused } = await body();
    this.records.push({ name, reused, seconds: (performance.now() - start) / 1000 });
    return value;
  }
}

export interface Prepared {
  config: Config;
  /** Hugging Face folder. */
  model: string;
  /** Likewise, of the model that tokens are chosen by. */
  reference?: string;
  facts: ModelFactsForPlan;
  corpora: PreparedCorpus[];
  hardware: HardwareFacts;
  plan: Plan;
  runFolder: string;
  cache: string;
  stages: Stages;
}

export interface Overrides {
  /** Folder of the run instead of OUTPUT/NAME. */
  runFolder?: string;
  /** Model to begin with instead of the file's. */
  modelFolder?: string;
  /** What probes found is left out of the plan: for the probes themselves. */
  ignoresFound?: boolean;
}

/** Model, corpora and plan of a configuration. */
export async function prepare(
  configFile: string,
  options: PipelineOptions,
  overrides: Overrides = {},
): Promise<Prepared> {
  const loaded = loadConfig(configFile);
  const cache = cacheFolder(loaded.folder);
  const say = options.log ?? (() => {});
  const stages = new Stages();
  makeFolder(cache, 'making the cache');
  const config = await withGenerated(loaded, cache, options, overrides.modelFolder);
  const { config: cleaned, curated: unscored } = await cleanCorpora(config, cache, options);
  const given = await stages.run('model', async () => {
    const before = fs.readdirSync(cache).length;
    const value = overrides.modelFolder ?? (await prepareModel(cleaned, cache, say));
    return { value, reused: fs.readdirSync(cache).length === before };
  });
  const { expand } = config.training;
  const expanded = expand
    ? await stages.run('expand', async () => {
        const value = await expandedModel(given, expand, cache, say);
        return { value, reused: value.reused };
      })
    : undefined;
  const model = expanded?.folder ?? given;
  const reference = await prepareReference(config, model, cache, say);
  const facts = modelFacts(model, modelName(config, model), config.model.kind === 'new', config.engine.name);
  if (facts.onlyByTorch) refuseWhatIsMeasuredHere(config, facts);
  if (config.engine.name === 'torch' && facts.experts && config.guard?.ewc)
    throw new ConfigError(
      `${config.file}: guard.ewc: the PyTorch engine has no EWC for models with experts. Take guard.l2, or engine: native.`,
    );
  const curated = await scoreCorpora(config, unscored, { model, context: facts.context, cache }, options);
  const corpora: PreparedCorpus[] = [];
  for (const corpus of withCleaned(config, curated).corpora) {
    corpora.push(
      await stages.run(`corpus ${corpus.name}`, async () => {
        const { share, documents: minDocuments, tokens: maxTokens } = corpus.heldOut ?? {};
        const request: PrepareOptions = {
          ...corpus,
          heldOut: { share, minDocuments, maxTokens },
          inOrder: corpus.order !== undefined,
          baseFolder: config.folder,
          modelFolder: model,
          vocabSize: facts.vocabSize,
          cacheFolder: cache,
          numWorkers: options.threads ?? config.training.threads,
          fresh: options.fresh,
          quiet: options.quiet,
        };
        const value = await prepareCorpus(request);
        return { value, reused: value.reused };
      }),
    );
  }
  writeDatasheets(config, corpora, curated);
  const hardware = hardwareFacts(facts);
  const shift =
    canShift(config, options) && !facts.onlyByTorch
      ? await stages.run('shift', () => measureShift({ model, facts, corpora, hardware, cache }, options))
      : undefined;
  const on = await clusterOf(config, options);
  const runFolder = overrides.runFolder ?? path.join(config.output, config.name);
  const inputs: PlanInputs = {
    ...{ config, model: facts, shift },
    hardware: on ? clusterSpeed(facts, on) : config.engine.name === 'torch' ? undefined : hardware,
    corpora: corpora.map(corpusFacts),
    on,
    pricePerHour: options.pricePerHour,
    countMemory: memoryCounter(model, reference),
    countWorkerMemory: gpuMemoryCounter(model, reference),
    ...(expanded && { expansion: expanded.facts }),
    ...(config.training.lora && 'from' in config.training.lora && { adapter: adapterFacts(config.training.lora.from) }),
  };
  // Precision and batch, by which findings are found again, do not depend on them.
  const planned = makePlan(withoutFound(inputs));
  const probes = overrides.ignoresFound ? undefined : readFindings(runFolder, { plan: planned, model, corpora });
  const usesFound = probes !== undefined || (config.recipe.asksFound && !overrides.ignoresFound);
  const plan = usesFound ? makePlan({ ...inputs, probes }) : planned;
  return { config, model, reference, facts, corpora, hardware, plan, runFolder, cache, stages };
}

/** GPUs to plan for: those that were named, else this machine's where the PyTorch engine trains on it and knows them. */
async function clusterOf({ file, engine }: Config, { on, launch }: PipelineOptions): Promise<Cluster | undefined> {
  if (on || engine.name !== 'torch') return on;
  const count = engine.nodes * engine.gpus;
  if (engine.gpu !== undefined) return { gpu: parseCluster(engine.gpu, `${file}: engine.torch.gpu`).gpu, count };
  if (launch || engine.nodes > 1) return undefined;
  const [visible] = await findGpus();
  const gpu = visible && gpuOfDevice(visible.name, visible.memoryBytes);
  return gpu && { gpu, count };
}

/** What the native engine's code does beside either engine. @throws ConfigError naming all of it, and what to do */
function refuseWhatIsMeasuredHere({ file, evaluate, guard, corpora }: Config, { family }: ModelFactsForPlan): void {
  const asked: [unknown, string][] = [
    [evaluate.tasks, 'evaluate.tasks (put them to the checkpoints by lm-evaluation-harness)'],
    [guard?.ewc, 'guard.ewc (guard.l2 needs no Fisher information)'],
    [corpora.some((corpus) => corpus.generated), 'a corpus that the model writes itself'],
    [corpora.some((corpus) => corpus.bitsPerByte ?? corpus.ifd), 'corpora chosen by what the model makes of them'],
  ];
  const refused = asked.flatMap(([value, text]) => (value ? [text] : []));
  if (refused.length > 0)
    throw new ConfigError(
      `${file}: models of type ${family} are trained by the PyTorch engine alone, and these need the model inside the native one: ${refused.join('; ')}. Take them out.`,
    );
}

/** The control and a new model have no use for it, and it takes both kinds of text. */
function canShift({ recipe, corpora }: Config, { measure = true }: PipelineOptions): boolean {
  const has = (role: CorpusRole) => corpora.some((corpus) => corpus.role === role);
  return measure && !['naive', 'from-scratch'].includes(recipe.preset) && has('domain') && has('general');
}

export async function planRun(configFile: string, options: PipelineOptions = {}): Promise<PlanResult> {
  const { plan, runFolder } = await prepare(configFile, options);
  return { plan, text: explainPlan(plan), folder: runFolder };
}

/**
 * A plan that was written before: plan.json, or that of a run folder.
 * @throws ConfigError where there is none
 */
export function readPlan(given: string): Plan {
  const file = fs.existsSync(given) && fs.statSync(given).isDirectory() ? path.join(given, 'plan.json') : given;
  if (!fs.existsSync(file))
    throw new ConfigError(
      `${file}: no such plan. \`continuo run\` writes one into its run folder; \`continuo plan --json > plan.json\` makes one to compare with.`,
    );
  const plan = readJson<Plan>(file);
  if (plan?.formatVersion !== 1 || !Array.isArray(plan.phases) || !Array.isArray(plan.reasons))
    throw new ConfigError(`${file}: not a plan of this version: expected formatVersion 1, phases and reasons.`);
  return plan;
}

function modelName(config: Config, folder: string): string {
  switch (config.model.kind) {
    case 'hub':
      return config.model.id;
    case 'path':
      return path.basename(config.model.path);
    case 'new':
      return `new (${path.basename(folder)})`;
    default:
      return config.model satisfies never;
  }
}

/** Assumed share of the matrix peak that a training step reaches; docs/LOG.md has what was measured. */
const ASSUMED_UTILISATION = 0.5;

function hardwareFacts(model: ModelFactsForPlan): HardwareFacts {
  const peak = nativeInfo()?.measurePeak('bf16', 0.1);
  if (!peak) return { memoryBytes: memoryLimit(), source: 'this machine' };
  return {
    tokensPerSecond: Math.round(
      (peak * 1e9 * ASSUMED_UTILISATION) / (6 * (model.experts?.numActive ?? model.numParameters)),
    ),
    memoryBytes: memoryLimit(),
    source: `this machine's measured matrix peak of ${peak.toFixed(0)} GFLOP/s, half of it used (assumption)`,
  };
}
