// Checkpoints of a run: a Hugging Face folder that any tool loads, plus trainer/ with what resuming bit for bit needs. A folder is complete
// or absent (atomic rename); the newest complete one is where a run goes on.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, DataError } from '../base/errors.ts';
import { makeFolder, readJson, writeFolderAtomic, writeJsonAtomic } from '../base/files.ts';
import {
  type ModelSource,
  openModel,
  PeftFolder,
  SafetensorsFile,
  type TensorToWrite,
  writeModelInto,
  writeSafetensors,
} from '../checkpoint/index.ts';
import {
  adapterConfig,
  type Decoder,
  exportAdapters,
  exportTensors,
  type LoraSettings,
  type Parameter,
  readAdapters,
  readWeights,
  withEma,
} from '../nn/index.ts';

interface TrainerState {
  formatVersion: 1;
  /** Steps completed. */
  step: number;
  /** Tokens trained. */
  tokens: number;
  jobFingerprint: string;
  precision: string;
  /** Kernels that computed it; their results differ in the last bits. Absent in checkpoints of before. */
  kernels?: string;
}

export function checkpointName(step: number): string {
  return `step-${String(step).padStart(8, '0')}`;
}

/** Complete checkpoints of a run, oldest first. */
export function listCheckpoints(runFolder: string): { step: number; folder: string }[] {
  const parent = path.join(runFolder, 'checkpoints');
  if (!fs.existsSync(parent)) return [];
  return fs
    .readdirSync(parent)
    .map((name) => ({ match: /^step-(\d{8,})$/.exec(name), folder: path.join(parent, name) }))
    .filter(({ match, folder }) => match && fs.existsSync(path.join(folder, 'config.json')))
    .map(({ match, folder }) => ({ step: Number(match![1]), folder }))
    .sort((a, b) => a.step - b.step);
}

/** What a killed process left half written or half removed. Only for the holder of the run's lock. */
export function removeLeftovers(runFolder: string): void {
  const parent = path.join(runFolder, 'checkpoints');
  if (!fs.existsSync(parent)) return;
  for (const name of fs.readdirSync(parent))
    if (name.endsWith('.tmp')) fs.rmSync(path.join(parent, name), { recursive: true, force: true });
}

/** @param withWeights for what the model's own files do not hold: adapters, which are merged there */
function stateTensors(parameter: Parameter, withWeights: boolean): TensorToWrite[] {
  const tensor = (kind: string, data: Float32Array | Uint16Array): TensorToWrite => ({
    name: `${kind}.${parameter.parts[0]!.name}`,
    shape: [parameter.rows, parameter.cols],
    dtype: data instanceof Float32Array ? 'F32' : 'U16',
    data: () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  });
  return [
    ...(withWeights ? [tensor('w', parameter.data)] : []),
    tensor('m', parameter.m!),
    tensor('v', parameter.v!),
    ...(parameter.low ? [tensor('low', parameter.low)] : []),
    ...(parameter.ema ? [tensor('ema', parameter.ema)] : []),
  ];
}

export interface CheckpointContext {
  runFolder: string;
  /** Of all that the steps so far were trained by. */
  jobFingerprint: string;
  /** Written into config.json under "continuo". */
  record: Record<string, unknown>;
  keep: number;
  /** Steps whose checkpoints are not removed, as it stands. */
  always: () => readonly number[];
  /** Given: the average of the weights, which was kept with this decay, is written too, as the model folder ema/ inside. */
  exportEma?: number;
  /** Given: the adapters are written too, in PEFT's format, as the folder adapter/ inside. `base` is the model that they belong to. */
  lora?: { settings: LoraSettings; base: string };
}

/** Saves after `step` completed steps; removes older checkpoints beyond `keep`. Returns its folder. */
export async function saveCheckpoint(
  context: CheckpointContext,
  decoder: Decoder,
  source: ModelSource,
  step: number,
  tokens: number,
): Promise<string> {
  const folder = path.join(context.runFolder, 'checkpoints', checkpointName(step));
  makeFolder(path.dirname(folder), 'saving a checkpoint');
  const dtype = decoder.precision === 'bf16' ? 'bfloat16' : 'float32';
  const writeModel = (into: string, record: Record<string, unknown>) =>
    writeModelInto(into, {
      config: {
        ...source.config,
        torch_dtype: dtype,
        continuo: { ...(source.config.continuo as object), ...context.record, step, tokens, ...record },
      },
      generationConfig: source.generationConfig,
      tensors: exportTensors(decoder),
      tokenizerFiles: source.tokenizer().files,
    });
  await writeFolderAtomic(folder, async (temporary) => {
    writeModel(temporary, {});
    if (context.exportEma !== undefined) {
      const average = path.join(temporary, 'ema');
      fs.mkdirSync(average);
      await withEma(decoder.trained(), decoder.kernels, () => writeModel(average, { ema: context.exportEma }));
    }
    if (context.lora) writeAdapters(path.join(temporary, 'adapter'), decoder, context.lora);
    const trainer = path.join(temporary, 'trainer');
    fs.mkdirSync(trainer);
    const inModel = new Set(decoder.list());
    const states = decoder.trained().flatMap((parameter) => stateTensors(parameter, !inModel.has(parameter)));
    writeSafetensors(path.join(trainer, 'optimizer.safetensors'), states);
    const state: TrainerState = {
      formatVersion: 1,
      step,
      tokens,
      jobFingerprint: context.jobFingerprint,
      precision: decoder.precision,
      kernels: decoder.kernels.variant,
    };
    writeJsonAtomic(path.join(trainer, 'state.json'), state);
  });
  const always = context.always();
  const passing = listCheckpoints(context.runFolder).filter(
    (old) => old.step === step || !(always.includes(old.step) || isKept(old.folder)),
  );
  for (const old of passing.slice(0, -context.keep)) {
    fs.renameSync(old.folder, `${old.folder}.tmp`);
    fs.rmSync(`${old.folder}.tmp`, { recursive: true, force: true });
  }
  return folder;
}

/** Marks a checkpoint as one that is never removed. */
export function keepCheckpoint(runFolder: string, step: number): void {
  const folder = listCheckpoints(runFolder).find((checkpoint) => checkpoint.step === step)?.folder;
  if (folder) fs.writeFileSync(path.join(folder, KEEP), '');
}

const KEEP = path.join('trainer', 'keep');

/** Whether the checkpoint in a folder is marked as one that is never removed. */
export function isKept(folder: string): boolean {
  return fs.existsSync(path.join(folder, KEEP));
}

/** adapter_config.json and adapter_model.safetensors. */
function writeAdapters(
  folder: string,
  decoder: Decoder,
  { settings, base }: NonNullable<CheckpointContext['lora']>,
): void {
  fs.mkdirSync(folder);
  writeJsonAtomic(path.join(folder, 'adapter_config.json'), adapterConfig(decoder, settings, base));
  writeSafetensors(path.join(folder, 'adapter_model.safetensors'), exportAdapters(decoder));
}

/** Sets the decoder's adapters to those of PEFT's files in a folder. */
export function beginWithAdapter(decoder: Decoder, folder: string): void {
  const adapter = new PeftFolder(folder);
  try {
    readAdapters(decoder, adapter);
  } finally {
    adapter.close();
  }
}

/** Puts weights, moments and low bits of a checkpoint into `decoder`. Returns where it stands. */
export function restoreCheckpoint(
  folder: string,
  jobFingerprint: string,
  decoder: Decoder,
): Pick<TrainerState, 'step' | 'tokens' | 'kernels'> {
  const stateFile = path.join(folder, 'trainer', 'state.json');
  const state = readJson<TrainerState>(stateFile, 'resuming');
  if (state.jobFingerprint !== jobFingerprint)
    throw new ConfigError(
      `${stateFile}: this checkpoint belongs to job ${state.jobFingerprint}, the job here is ${jobFingerprint}. The plan or its data changed since. Give the changed run another name, or remove the checkpoints folder to start over.`,
    );
  if (state.precision !== decoder.precision)
    throw new DataError(stateFile, `precision: expected ${decoder.precision}, found ${state.precision}.`);
  const weights = openModel(folder);
  const trainer = new SafetensorsFile(path.join(folder, 'trainer', 'optimizer.safetensors'));
  try {
    const inModel = new Set(decoder.list());
    const stored = (name: string) => (decoder.precision === 'bf16' ? weights.readBf16(name) : weights.readF32(name));
    for (const parameter of decoder.trained()) {
      const read = (kind: string, into: Float32Array | Uint16Array) =>
        trainer.readRaw(`${kind}.${parameter.parts[0]!.name}`, into);
      if (inModel.has(parameter)) readWeights(parameter, stored);
      else read('w', parameter.data);
      read('m', parameter.m!);
      read('v', parameter.v!);
      if (parameter.low) read('low', parameter.low);
      if (parameter.ema) read('ema', parameter.ema);
    }
  } finally {
    trainer.close();
    weights.close();
  }
  return { step: state.step, tokens: state.tokens, kernels: state.kernels };
}
