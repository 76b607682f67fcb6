// Reads continuo.yaml. YAML 1.2, nothing is interpolated: no environment variable, no include, no tag that runs anything.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { type Document, LineCounter, parseDocument } from 'yaml';
import { readText } from '../base/files.ts';
import {
  type AlarmsConfig,
  type AlarmsInFile,
  alarmsWithoutAddress,
  expandAlarms,
  wantsSamples,
} from './alarm-options.ts';
import { type CleanInFile, expandClean } from './clean-options.ts';
import { type DecontaminateConfig, type DedupInFile, expandDecontaminate, expandDedup } from './dedup-options.ts';
import { checkGuard, type GuardConfig, resolveGuard } from './guard-options.ts';
import { defaultLaunch } from './launch-options.ts';
import { mixingProblems } from './mixing-options.ts';
import { locate, type Problem, problemsOf, refuse } from './problems.ts';
import { FOUND_NAMES, type PresetName, type RecipeConfig } from './recipe-options.ts';
import { type ConfigFile, NAME_PATTERN, NAME_RULE, schemaFor } from './schema.ts';
import type {
  BestRule,
  BudgetConfig,
  Config,
  CorpusConfig,
  CorpusRole,
  GeneratedConfig,
  GivenLoraConfig,
  LoraConfig,
  ModelConfig,
  NewModelConfig,
  OrderConfig,
  ScoreConfig,
} from './types.ts';

/**
 * The configuration in `file`. Throws one ConfigError with all problems, each as file:line:column with what was expected and found.
 * Looks at the file system only to tell a model's folder from a hub id.
 */
export function loadConfig(file: string): Config {
  return parseConfig(readText(file, 'reading the configuration'), file);
}

/** As loadConfig, on text already read; `file` is named in messages and relative paths start at its folder. */
export function parseConfig(source: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(source, { lineCounter: lines, uniqueKeys: true, logLevel: 'error' });
  const broken = [...document.errors, ...document.warnings];
  if (broken.length > 0)
    refuse(
      file,
      broken.map((error) => ({ ...position(error.pos[0], lines), message: wordYamlError(error.message) })),
    );
  const data = plainValues(document, file);
  if (data === null || typeof data !== 'object' || Array.isArray(data))
    refuse(file, [
      {
        line: 1,
        column: 1,
        message: `${data === null ? 'the file is empty' : 'not a map'}: expected the keys model, corpora and budget`,
      },
    ]);
  const parsed = schemaFor(data as Record<string, unknown>).safeParse(data);
  if (!parsed.success)
    refuse(
      file,
      problemsOf(parsed.error, data).map((problem) => locate(problem, document, lines)),
    );
  const problems: Problem[] = [];
  const config = resolve(parsed.data, path.resolve(file), problems);
  if (problems.length > 0)
    refuse(
      file,
      problems.map((problem) => locate(problem, document, lines)),
    );
  return config;
}

/** Aliases are resolved here; one that names nothing, or a pile of them that would fill the memory, is refused. */
function plainValues(document: Document, file: string): unknown {
  try {
    return document.toJS();
  } catch (error) {
    return refuse(file, [{ line: 1, column: 1, message: wordYamlError((error as Error).message) }]);
  }
}

function position(offset: number, lines: LineCounter): { line: number; column: number } {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

function wordYamlError(message: string): string {
  const first = message
    .split('\n')[0]!
    .replace(/ at line \d+, column \d+:?$/, '')
    .replace(/[.:]$/, '');
  return first.startsWith('Map keys must be unique')
    ? 'this key stands here twice; keep one of them'
    : `not valid YAML: ${first}`;
}

function resolve(file: ConfigFile, configFile: string, problems: Problem[]): Config {
  const folder = path.dirname(configFile);
  const name = file.name ?? defaultName(folder);
  if (!NAME_PATTERN.test(name)) problems.push({ path: ['name'], message: `expected ${NAME_RULE}, found "${name}"` });
  const model = resolveModel(file.model as string | { new: RawNewModel }, folder, problems);
  const corpora = resolveCorpora(file.corpora as Record<string, RawCorpus>, folder, problems);
  for (const corpus of corpora) checkGenerated(corpus, file.corpora as Record<string, RawCorpus>, model, problems);
  for (const corpus of corpora)
    for (const score of ['bitsPerByte', 'ifd'] as const) checkScore(corpus, score, model, problems);
  const trainable = corpora.filter(({ role }) => role !== 'evaluation').map((corpus) => corpus.name);
  const select = file.training?.selectTokens;
  if (file.mixing) problems.push(...mixingProblems(file.mixing, trainable, select !== undefined));
  if (file.training?.lora !== undefined && model.kind === 'new')
    problems.push({
      path: ['training', 'lora'],
      message: 'adapters continue a trained model, but model is new: take this key out, or name a trained model',
    });
  for (const key of ['lora', 'freeze'] as const)
    if (file.training?.expand !== undefined && file.training[key] !== undefined)
      problems.push({
        path: ['training', key],
        message: 'training.expand trains the new blocks alone: take one of the two keys out',
      });
  if (file.training?.expand !== undefined && model.kind === 'new')
    problems.push({
      path: ['training', 'expand'],
      message: 'new blocks are put into a trained model, but model is new: take this key out, or name a trained model',
    });
  if (file.training?.lora !== undefined && file.training.freeze !== undefined)
    problems.push({
      path: ['training', 'freeze'],
      message:
        "adapters leave all of the model's own weights as they are already: take this key out, or training.lora; training.lora.targets chooses what is adapted",
    });
  const config: Config = {
    file: configFile,
    folder,
    name,
    model,
    corpora,
    dedup: expandDedup(file.dedup as DedupInFile | undefined),
    decontaminate: expandDecontaminate(file.decontaminate as boolean | DecontaminateConfig | undefined),
    recipe: resolveRecipe(file.recipe as RawRecipe, model, corpora, problems),
    ...(file.mixing && { mixing: file.mixing }),
    budget: resolveBudget(file.budget, problems),
    training: {
      ...file.training,
      lora: loraOf(file.training?.lora, folder),
      selectTokens: select && {
        ...select,
        reference: resolveTrainedModel(select.reference, folder, ['training', 'selectTokens', 'reference'], problems),
      },
    },
    guard: resolveGuard(file.guard as GuardConfig | false | undefined, (one) => resolvePath(one, folder)),
    evaluate: {
      everySteps: file.evaluate?.every,
      tokensPerSet: file.evaluate?.tokens,
      tasks: resolveTasks(file.evaluate, folder, problems),
    },
    checkpoints: {
      everySteps: file.checkpoints?.every,
      keep: file.checkpoints?.keep,
      best: resolveBest(file, problems),
    },
    alarms: resolveAlarms(file.alarms as AlarmsInFile | undefined, problems),
    engine: resolveEngine(file, problems),
    output: resolvePath(file.output ?? 'runs', folder),
  };
  problems.push(...checkGuard(config));
  return config;
}

function resolveAlarms(given: AlarmsInFile | undefined, problems: Problem[]): AlarmsConfig | undefined {
  const alarms = expandAlarms(given);
  for (const name of alarms ? alarmsWithoutAddress(alarms) : [])
    problems.push({
      path: ['alarms', name],
      message: 'asks for a webhook, but there is no address: give alarms.webhook, such as env:ALARM_URL',
    });
  return alarms;
}

const NOT_ON_TORCH = 'the engine torch does not do this yet: take engine: native, or leave it out';

function resolveEngine(file: ConfigFile, problems: Problem[]): Config['engine'] {
  const { engine = 'native' } = file;
  if (engine === 'native') {
    if (file.training?.recompute === 'selective')
      problems.push({
        path: ['training', 'recompute'],
        message:
          'selective is of the engine torch: the native one keeps all of a layer or runs it again (none or full)',
      });
    return { name: 'native' };
  }
  if (file.guard && file.guard.l2?.toward === 'init')
    problems.push({ path: ['guard', 'l2', 'toward'], message: NOT_ON_TORCH });
  const alarms = expandAlarms(file.alarms as AlarmsInFile | undefined);
  if (alarms && wantsSamples(alarms))
    problems.push({ path: ['alarms', alarms.own.writing ? 'writing' : 'prompts'], message: NOT_ON_TORCH });
  const given = engine === 'torch' ? {} : engine.torch;
  const { gpus = 1, nodes = 1, trustRemoteCode = false, gpu, launch = defaultLaunch() } = given;
  const { hosts } = launch.ssh ?? {};
  if (hosts && hosts.length !== nodes)
    problems.push({
      path: ['engine', 'torch', 'launch', 'ssh', 'hosts'],
      message: `expected as many hosts as there are nodes (${nodes}), found ${hosts.length}`,
    });
  return { name: 'torch', gpus, nodes, trustRemoteCode, launch, ...(gpu !== undefined && { gpu }) };
}

function resolveTasks(given: ConfigFile['evaluate'], folder: string, problems: Problem[]): Config['evaluate']['tasks'] {
  const { tasks, taskFolders = [], tasksEvery, limit, fewShot, beside } = given ?? {};
  if (!tasks) {
    for (const key of ['taskFolders', 'tasksEvery', 'limit', 'fewShot', 'beside'] as const)
      if (given?.[key] !== undefined)
        problems.push({
          path: ['evaluate', key],
          message: 'says how tasks are measured, but there are none: give evaluate.tasks, or take this key out',
        });
    return undefined;
  }
  return {
    names: tasks,
    folders: taskFolders.map((one) => resolvePath(one, folder)),
    everySteps: tasksEvery,
    limit,
    fewShot,
    beside,
  };
}

/** Names are those of roles, corpora or listed tasks; of a group or tag the tasks are not known here. */
function resolveBest({ checkpoints, corpora, evaluate }: ConfigFile, problems: Problem[]): BestRule | undefined {
  const given = checkpoints?.best;
  if (!given) return undefined;
  const measured = Object.entries(corpora as Record<string, RawCorpus>).flatMap(([name, { role }]) => [name, role]);
  const known = [...new Set([...measured, ...(evaluate?.tasks ?? [])])];
  const check = (name: string, key: string[]) => {
    if (!known.includes(name))
      problems.push({
        path: ['checkpoints', 'best', ...key],
        message: `expected a role or corpus of this file or one of evaluate.tasks (${known.join(', ')}), found "${name}"`,
      });
  };
  const { of = 'domain', within = {} } = given;
  check(of, given.of === undefined ? [] : ['of']);
  for (const name of Object.keys(within)) check(name, ['within', name]);
  return { of, within };
}

function defaultName(folder: string): string {
  const name = path
    .basename(folder)
    .replaceAll(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[._-]+/, '')
    .slice(0, 64);
  return name || 'run';
}

function resolvePath(given: string, folder: string): string {
  return path.resolve(folder, given.replace(/^~(?=$|[\\/])/, os.homedir()));
}

type RawNewModel = Omit<NewModelConfig, 'kvHeads' | 'headDim' | 'ropeTheta' | 'tied'> & Partial<NewModelConfig>;

function resolveModel(given: string | { new: RawNewModel }, folder: string, problems: Problem[]): ModelConfig {
  if (typeof given !== 'string') return { kind: 'new', new: resolveNewModel(given.new, folder, problems) };
  return resolveTrainedModel(given, folder, ['model'], problems);
}

function resolveTrainedModel(
  given: string,
  folder: string,
  at: string[],
  problems: Problem[],
): Exclude<ModelConfig, { kind: 'new' }> {
  const file = resolvePath(given, folder);
  if (fs.existsSync(file)) return { kind: 'path', path: file };
  const id = given.replace(/^hub:\/\//, '');
  if (/^[A-Za-z0-9][\w.-]*\/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$/.test(id) && !id.endsWith('.gguf'))
    return { kind: 'hub', id };
  problems.push({
    path: at,
    message: `expected an existing folder or .gguf file, or a hub id such as owner/name, found "${given}" (${file} does not exist)`,
  });
  return { kind: 'path', path: file };
}

function resolveNewModel(given: RawNewModel, folder: string, problems: Problem[]): NewModelConfig {
  const at = (key: string) => ['model', 'new', key];
  const { hidden, heads } = given;
  const kvHeads = given.kvHeads ?? heads;
  const headDim = given.headDim ?? hidden / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0)
    problems.push({
      path: at('heads'),
      message: `hidden / heads must be an even whole number, found ${hidden} / ${heads}; change one or give headDim`,
    });
  if (heads % kvHeads !== 0)
    problems.push({ path: at('kvHeads'), message: `expected a divisor of heads (${heads}), found ${kvHeads}` });
  return {
    ...given,
    kvHeads,
    headDim,
    ropeTheta: given.ropeTheta ?? 10000,
    tied: given.tied ?? true,
    tokenizer: given.tokenizer === undefined ? undefined : resolvePath(given.tokenizer, folder),
  };
}

interface RawCorpus {
  path?: string | string[];
  generated?: GeneratedConfig;
  role: CorpusRole;
  limit?: number;
  field?: string;
  heldOut?: { share?: number; documents?: number; tokens?: number };
  weight?: number;
  quality?: number;
  maxEpochs?: number;
  maxBadShare?: number;
  maxRecordBytes?: number;
  clean?: CleanInFile;
  bitsPerByte?: ScoreConfig;
  ifd?: ScoreConfig;
  order?: OrderConfig;
}

function checkGenerated(
  { name, generated }: CorpusConfig,
  given: Record<string, RawCorpus>,
  model: ModelConfig,
  problems: Problem[],
): void {
  if (!generated) return;
  const at = (key: string, message: string) => problems.push({ path: ['corpora', name, key], message });
  if (given[name]!.path !== undefined) at('path', 'the text is generated: take path out, or generated');
  if (given[name]!.field !== undefined) at('field', 'the text is generated: take this key out');
  if (model.kind === 'new')
    at('generated', 'a trained model writes the text, but model is new: take this key out, or name a trained model');
}

function checkScore(corpus: CorpusConfig, score: 'bitsPerByte' | 'ifd', model: ModelConfig, problems: Problem[]): void {
  const limits = corpus[score];
  if (!limits) return;
  const { min, max } = limits;
  const path = [
    'corpora',
    corpus.name,
    corpus.order?.by === score && Object.keys(limits).length === 0 ? 'order' : score,
  ];
  if (model.kind === 'new')
    problems.push({
      path,
      message: 'a trained model scores the documents, but model is new: take this key out, or name a trained model',
    });
  if (min !== undefined && max !== undefined && min >= max)
    problems.push({ path, message: `expected min below max, found ${min} and ${max}` });
}

function resolveCorpora(given: Record<string, RawCorpus>, folder: string, problems: Problem[]): CorpusConfig[] {
  const corpora = Object.entries(given).map(([name, corpus]): CorpusConfig => {
    if (!NAME_PATTERN.test(name))
      problems.push({ path: ['corpora', name], atKey: true, message: `expected a corpus name of ${NAME_RULE}` });
    const { path: given, limit, clean, ...rest } = corpus;
    const paths = [given ?? []]
      .flat()
      .map((one) => (/^[a-z][a-z0-9+.-]+:\/\//i.test(one) ? one : resolvePath(one, folder)));
    return {
      ...{ name, paths, limitTokens: limit, ...rest },
      ...(clean !== undefined && { clean: expandClean(clean, (file) => resolvePath(file, folder)) }),
      // What the order goes by is measured without being asked for twice.
      ...((rest.order?.by === 'bitsPerByte' || rest.order?.by === 'ifd') && {
        [rest.order.by]: rest[rest.order.by] ?? {},
      }),
    };
  });
  if (!corpora.some((corpus) => corpus.role !== 'evaluation'))
    problems.push({
      path: ['corpora'],
      message: 'expected at least one corpus with the role domain, general or instruction to train on',
    });
  for (const role of ['domain', 'general', 'instruction'] as const) {
    const ofRole = corpora.filter((corpus) => corpus.role === role);
    checkWeights(ofRole, role, problems);
    if (ofRole.length > 0 && ofRole.every((corpus) => corpus.weight === 0))
      problems.push({
        path: ['corpora', ofRole[0]!.name, 'weight'],
        message: `all ${role} corpora have weight 0: raise one, or remove them`,
      });
  }
  return corpora;
}

/** A weight means nothing beside a size: all have one, or none. */
function checkWeights(corpora: readonly CorpusConfig[], kind: string, problems: Problem[]): void {
  const without = corpora.find((corpus) => corpus.weight === undefined);
  if (!without || corpora.every((corpus) => corpus.weight === undefined)) return;
  problems.push({
    path: ['corpora', without.name],
    atKey: true,
    message: `has no weight, while another ${kind} corpus has one: give all of them one, or none`,
  });
}

function resolveBudget(
  given: { tokens?: number; epochs?: number; steps?: number; minutes?: number },
  problems: Problem[],
): BudgetConfig {
  const kinds = (['tokens', 'epochs', 'steps', 'minutes'] as const).filter((kind) => given[kind] !== undefined);
  if (kinds.length !== 1)
    problems.push({
      path: ['budget'],
      message: `expected exactly one of tokens, epochs, steps and minutes, found ${kinds.join(' and ') || 'none'}`,
    });
  const kind = kinds[0] ?? 'tokens';
  return { kind, [kind]: given[kind] ?? 0 } as BudgetConfig;
}

type RawRecipe = PresetName | ({ preset: PresetName } & Record<string, unknown>) | undefined;

function resolveRecipe(
  given: RawRecipe,
  model: ModelConfig,
  corpora: CorpusConfig[],
  problems: Problem[],
): RecipeConfig {
  const { preset, ...options }: { preset?: PresetName } & Record<string, unknown> =
    typeof given === 'object' ? given : { preset: given };
  const name = preset ?? (model.kind === 'new' ? 'from-scratch' : 'reuse-dont-retrain');
  if (model.kind === 'new' && name !== 'from-scratch')
    problems.push({
      path: ['recipe'],
      message: `${name} continues a trained model, but model is new: use from-scratch, or name a trained model`,
    });
  if (model.kind !== 'new' && name === 'from-scratch')
    problems.push({
      path: ['recipe'],
      message: 'from-scratch needs model: { new: ... }: name another recipe to continue this model',
    });
  const trainable = corpora.filter((corpus) => corpus.role !== 'evaluation');
  if (name === 'from-scratch' && problems.length === 0) checkWeights(trainable, 'training', problems);
  const names = trainable.map((corpus) => corpus.name);
  for (const key of ['firstBlend', 'secondBlend', 'blend', 'baseScores'])
    checkNames((options as Record<string, object | undefined>)[key], ['recipe', key], names, problems);
  if (name === 'custom') checkPhases((options as { phases?: RawPhase[] }).phases, names, problems);
  const asksFound = FOUND_NAMES.filter((key) => options[key] === 'found');
  for (const key of asksFound) delete options[key];
  return {
    ...{ preset: name, options, isDefault: given === undefined },
    ...(asksFound.length > 0 && { asksFound }),
  } as RecipeConfig;
}

interface RawPhase {
  blend?: Record<string, number>;
  shares?: Record<string, number>;
  to?: Omit<RawPhase, 'to' | 'begins'>;
  begins?: Record<string, number>;
}

function checkPhases(phases: RawPhase[] | undefined, names: readonly string[], problems: Problem[]): void {
  if (!phases) {
    problems.push({ path: ['recipe'], message: 'custom needs phases: { preset: custom, phases: [{ blend: {...} }] }' });
    return;
  }
  phases.forEach((phase, i) => {
    const at = ['recipe', 'phases', i];
    for (const [where, part] of [[at, phase] as const, [[...at, 'to'], phase.to] as const]) {
      if (!part) continue;
      if ((part.blend === undefined) === (part.shares === undefined))
        problems.push({ path: where, message: 'expected either blend (weights by corpus) or shares (by role)' });
      if (part.shares && !Object.values(part.shares).some((share) => share > 0))
        problems.push({ path: [...where, 'shares'], message: 'expected at least one share above 0' });
      checkNames(part.blend, [...where, 'blend'], names, problems);
    }
    const begins = Object.keys(phase.begins ?? {});
    if (i === 0 && begins.length > 0)
      problems.push({ path: [...at, 'begins'], message: 'the first phase begins with the run: remove this' });
    if (i > 0 && begins.length !== 1)
      problems.push({
        path: at,
        message: `expected begins with one of lrShare, tokens and step, found ${begins.join(' and ') || 'none'}`,
      });
  });
}

function checkNames(
  given: object | undefined,
  path: (string | number)[],
  names: readonly string[],
  problems: Problem[],
): void {
  for (const corpus of Object.keys(given ?? {}))
    if (!names.includes(corpus))
      problems.push({
        path: [...path, corpus],
        atKey: true,
        message: `no such corpus to train on; there are ${names.join(', ')}`,
      });
}

type RawLora = number | LoraConfig | GivenLoraConfig;

function loraOf(lora: RawLora | undefined, folder: string): LoraConfig | GivenLoraConfig | undefined {
  if (typeof lora === 'number') return { rank: lora };
  return lora && 'from' in lora ? { ...lora, from: resolvePath(lora.from, folder) } : lora;
}
