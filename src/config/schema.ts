// The keys of continuo.yaml. The schema is built for the file at hand: where a key may hold a word or a map, the branch is chosen by
// what stands there, so that a message speaks of the branch that the user meant.
import { z } from 'zod';
import { nearestName } from '../base/errors.ts';
import { alarmsSchema } from './alarm-options.ts';
import { cleanSchema } from './clean-options.ts';
import { decontaminateSchema, dedupSchema } from './dedup-options.ts';
import { count, map, notNegative, number, oneOf, positive, recompute, share, text, truth, whole } from './fields.ts';
import { guardSchema } from './guard-options.ts';
import { engineSchema } from './launch-options.ts';
import { mixingSchema } from './mixing-options.ts';
import { PLANNED_PRESETS, PRESET_NAMES, type PresetName, RECIPE_OPTIONS } from './recipe-options.ts';
import { PACKINGS } from './types.ts';

/** Corpus and run names become names of files and folders. */
export const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
export const NAME_RULE = 'letters, digits, ".", "_" and "-", at most 64, starting with a letter or digit';

const newModel = map({
  hidden: whole,
  layers: whole,
  heads: whole,
  kvHeads: whole.optional(),
  headDim: number('an even whole number', (x) => Number.isSafeInteger(x) && x >= 2 && x % 2 === 0).optional(),
  ffn: whole,
  context: whole,
  vocab: number(
    'a whole number of at least 260 (256 bytes and the special tokens)',
    (x) => Number.isSafeInteger(x) && x >= 260,
  ),
  ropeTheta: positive.optional(),
  tied: truth.optional(),
  tokenizer: text('the path of a tokenizer.json').optional(),
});

/** What the base model says of documents. */
const modelScore = map({
  min: positive.optional(),
  max: positive.optional(),
  tokens: count('tokens').optional(),
});

/** What the model shall write by itself. */
const generated = map({
  tokens: count('tokens'),
  temperature: positive.optional(),
  topP: number('a share above 0, at most 1', (x) => x > 0 && x <= 1).optional(),
  documentTokens: count('tokens').optional(),
});

const paths = 'a path, a glob such as "docs/**/*.md", or a list of them';

/** Of corpora without steps of cleaning, by what else chooses between branches: there may be thousands, and a schema takes a millisecond. */
const plainCorpora = new Map<string, ReturnType<typeof makeCorpus>>();

function corpus(value: unknown) {
  const { path, clean, generated: written } = (value ?? {}) as { path?: unknown; clean?: unknown; generated?: unknown };
  const branch = { isList: Array.isArray(path), isWritten: written !== undefined };
  if (clean !== undefined) return makeCorpus(branch, clean);
  const key = JSON.stringify(branch);
  const schema = plainCorpora.get(key) ?? makeCorpus(branch, clean);
  plainCorpora.set(key, schema);
  return schema;
}

function makeCorpus({ isList, isWritten }: { isList: boolean; isWritten: boolean }, clean: unknown) {
  const given = isList ? z.array(text(paths)).min(1, { error: paths }) : text(paths);
  return map(
    {
      path: isWritten ? given.optional() : given,
      generated: generated.optional(),
      role: oneOf(['domain', 'general', 'instruction', 'evaluation']),
      limit: count('tokens').optional(),
      field: text('the name of the field that holds the text').optional(),
      heldOut: map({
        share: number('a share above 0, at most 0.5', (x) => x > 0 && x <= 0.5).optional(),
        documents: count('documents').optional(),
        tokens: count('tokens').optional(),
      }).optional(),
      weight: notNegative.optional(),
      quality: positive.optional(),
      maxEpochs: positive.optional(),
      maxBadShare: share.optional(),
      maxRecordBytes: count('bytes').optional(),
      clean: cleanSchema(clean).optional(),
      bitsPerByte: modelScore.optional(),
      ifd: modelScore.optional(),
      order: map({
        by: text("the name of a number in the documents' metadata, such as bitsPerByte, ifd or quality"),
        first: oneOf(['low', 'high']),
      }).optional(),
    },
    'a corpus: a map',
  );
}

/** One entry a corpus, so that a message speaks of the entry's own branch. */
function corpora(value: unknown) {
  const what = 'a map from corpus name to { path, role }';
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return z.record(z.string(), z.unknown(), { error: what });
  return z.object(Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, corpus(entry)])));
}

function recipe(value: unknown) {
  if (value === undefined) return z.undefined().optional();
  if (value !== null && typeof value === 'object' && !Array.isArray(value)) {
    // A map with phases and no name is a recipe of the user's own.
    const { preset: given, phases } = value as { preset?: unknown; phases?: unknown };
    const name = given ?? (phases === undefined ? undefined : 'custom');
    if (typeof name === 'string' && name in RECIPE_OPTIONS)
      return RECIPE_OPTIONS[name as PresetName].extend({ preset: z.string().default(name) });
    return z.looseObject({ preset: presetName });
  }
  return presetName;
}

const presetName = z
  .string({ error: `the name of a recipe (${PRESET_NAMES.join(', ')}), or { preset: NAME, ... }` })
  .refine((name) => PRESET_NAMES.includes(name as PresetName), {
    error: (issue) => describeUnknownPreset(String(issue.input)),
  });

function describeUnknownPreset(name: string): string {
  const known = PRESET_NAMES.join(', ');
  const planned = Object.hasOwn(PLANNED_PRESETS, name) ? PLANNED_PRESETS[name] : undefined;
  if (planned)
    return `one of ${known} ("${name}", ${planned.method}, needs what this version does not have: ${planned.missing}. Meanwhile: ${planned.meanwhile})`;
  const nearest = nearestName(name, PRESET_NAMES);
  return `one of ${known}${nearest ? ` (did you mean "${nearest}"?)` : ''}`;
}

const atLeastOneStep = count('steps');

/** A rank, or a map. */
function lora(value: unknown) {
  if (typeof value !== 'object' || value === null)
    return number('a rank such as 16, or { rank: 16, ... }', (x) => Number.isSafeInteger(x) && x >= 1);
  // An adapter that is trained on is as it is.
  if ('from' in value) return map({ from: text("a folder with PEFT's adapter_config.json"), lr: positive.optional() });
  return map({
    rank: whole,
    alpha: positive.optional(),
    targets: z
      .array(text('a name such as q_proj'), { error: 'a list of names such as [q_proj, v_proj]' })
      .min(1, { error: 'at least one name; leave the key out to adapt every matrix of the layers' })
      .optional(),
    rsLora: truth.optional(),
    dora: truth.optional(),
    lr: positive.optional(),
    embeddings: truth.optional(),
  });
}

/** @param value the parsed file, which chooses between branches */
export function schemaFor(value: Record<string, unknown>) {
  const isNewModel = value.model !== null && typeof value.model === 'object';
  return map({
    name: text('a name').optional(),
    model: isNewModel
      ? map({ new: newModel })
      : text('a folder, a .gguf file, a hub id such as owner/name, or { new: {...} }'),
    corpora: corpora(value.corpora),
    dedup: dedupSchema(value.dedup).optional(),
    decontaminate: decontaminateSchema(value.decontaminate).optional(),
    recipe: recipe(value.recipe),
    mixing: mixingSchema.optional(),
    budget: map({
      tokens: count('tokens').optional(),
      epochs: positive.optional(),
      steps: atLeastOneStep.optional(),
      minutes: positive.optional(),
    }),
    training: map({
      seqLen: count('tokens').optional(),
      batchTokens: count('tokens').optional(),
      microBatch: whole.optional(),
      packing: oneOf([...PACKINGS]).optional(),
      precision: oneOf(['bf16', 'f32']).optional(),
      seed: number('a whole number of at least 0', (x) => Number.isSafeInteger(x) && x >= 0).optional(),
      weightDecay: notNegative.optional(),
      beta1: number('a number from 0 to below 1', (x) => x >= 0 && x < 1).optional(),
      beta2: number('a number from 0 to below 1', (x) => x >= 0 && x < 1).optional(),
      eps: positive.optional(),
      lora: lora((value.training as { lora?: unknown } | null | undefined)?.lora).optional(),
      freeze: z
        .array(text('a pattern of names of tensors'), {
          error: 'a list of patterns of names of tensors such as ["model.embed_tokens", "model.layers.{0..11}"]',
        })
        .min(1, { error: 'at least one pattern; leave the key out to train every tensor' })
        .optional(),
      expand: whole.optional(),
      recompute: recompute.optional(),
      embeddingLr: notNegative.optional(),
      routerAuxLoss: notNegative.optional(),
      routerZLoss: notNegative.optional(),
      ema: number('a number between 0 and 1, such as 0.999', (x) => x > 0 && x < 1).optional(),
      selectTokens: map({
        reference: text('a folder with a model, or a hub id such as owner/name'),
        keep: number('a share above 0, at most 1', (x) => x > 0 && x <= 1).optional(),
      }).optional(),
      clip: notNegative.optional(),
      threads: whole.optional(),
    }).optional(),
    guard: value.guard === false ? z.literal(false) : guardSchema.optional(),
    evaluate: map({
      every: atLeastOneStep.optional(),
      tokens: count('tokens').optional(),
      tasks: z
        .array(text('a task, group or tag such as hellaswag'), { error: 'a list of tasks such as [continuo-small]' })
        .min(1, { error: 'at least one task; leave the key out to measure held-out text alone' })
        .optional(),
      taskFolders: z.array(text('a folder'), { error: 'a list of folders with task files' }).optional(),
      tasksEvery: atLeastOneStep.optional(),
      limit: whole.optional(),
      fewShot: number('a whole number of at least 0', (x) => Number.isSafeInteger(x) && x >= 0).optional(),
      beside: truth.optional(),
    }).optional(),
    checkpoints: map({
      every: atLeastOneStep.optional(),
      keep: whole.optional(),
      best: map({
        of: text('a role, corpus or task').optional(),
        within: z
          .record(z.string(), notNegative, {
            error: 'a map from role, corpus or task to percent that may be lost, such as { general: 2 }',
          })
          .optional(),
      }).optional(),
    }).optional(),
    alarms: alarmsSchema(value.alarms).optional(),
    engine: engineSchema(value.engine).optional(),
    output: text('a folder').optional(),
  });
}

export type ConfigFile = z.output<ReturnType<typeof schemaFor>>;
