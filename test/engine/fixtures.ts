// A tiny model, a tiny corpus and compiled jobs; engines as child processes, followed line by line.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { packageRoot } from '../../src/base/package.ts';
import { Rng } from '../../src/base/rng.ts';
import { type HfConfig, saveModel } from '../../src/checkpoint/index.ts';
import type { EngineMessage } from '../../src/engine/index.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import { exportTensors, initDecoder } from '../../src/nn/index.ts';
import { compileJob, type JobOptions, type PreparedCorpus, prepareCorpus } from '../../src/shards/index.ts';
import { loadTokenizer } from '../../src/tokenizer/index.ts';

export const ENGINE = path.join(packageRoot(), 'dist', 'engine', 'native-engine.js');
export const CLI = path.join(packageRoot(), 'dist', 'cli', 'main.js');
export const BYTE_TOKENIZER = path.join(packageRoot(), 'test', 'fixtures', 'byte-tokenizer');

export function temporaryFolder(name: string): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), `continuo-${name}-`));
}

export const byteTokenizerFiles = () => loadTokenizer(BYTE_TOKENIZER).files;

export const TINY: HfConfig = {
  model_type: 'llama',
  architectures: ['LlamaForCausalLM'],
  vocab_size: 257,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
};

export async function writeTinyModel(folder: string, changes: Record<string, unknown> = {}): Promise<string> {
  const config = { ...TINY, ...changes };
  const decoder = initDecoder(config, 1, 'f32', referenceKernels);
  await saveModel(folder, { config, tensors: exportTensors(decoder), tokenizerFiles: byteTokenizerFiles() });
  return folder;
}

/** Sentences over few words, so that there is something to learn. */
export function writeCorpus(file: string, seed: number, numDocuments: number): string {
  const rng = new Rng(seed, 'corpus');
  const vocabulary = Array.from({ length: 40 }, () =>
    rng
      .uint32()
      .toString(36)
      .slice(0, 2 + rng.below(5)),
  );
  const sentence = () => Array.from({ length: 6 + rng.below(6) }, () => vocabulary[rng.below(40)]!).join(' ');
  const lines = Array.from({ length: numDocuments }, () => {
    const text = Array.from({ length: 3 + rng.below(4) }, sentence).join('. ');
    return `${JSON.stringify({ text })}\n`;
  });
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, lines.join(''));
  return file;
}

export interface World {
  root: string;
  model: string;
  domain: PreparedCorpus;
  general: PreparedCorpus;
}

/** What jobs are compiled from. Remove `root` afterwards. */
export async function makeWorld(name: string): Promise<World> {
  const root = temporaryFolder(name);
  const model = await writeTinyModel(path.join(root, 'model'));
  const prepare = (corpus: string, role: 'domain' | 'general', seed: number) =>
    prepareCorpus({
      name: corpus,
      role,
      paths: writeCorpus(path.join(root, `${corpus}.jsonl`), seed, 60),
      modelFolder: model,
      cacheFolder: path.join(root, 'cache'),
      heldOut: { share: 0.05, minDocuments: 3, maxTokens: 2000 },
      numWorkers: 1,
      quiet: true,
    });
  return { root, model, domain: await prepare('domain', 'domain', 1), general: await prepare('general', 'general', 2) };
}

let numRuns = 0;

export const OPTIMIZER = {
  name: 'adamw',
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0.1,
  clipNorm: 1,
} as const;

export const measured = (world: World): JobOptions['evaluation'] => ({
  everySteps: 20,
  sets: [
    { name: 'domain', role: 'domain', prefix: world.domain.heldOutPrefix },
    { name: 'general', role: 'general', prefix: world.general.heldOutPrefix },
  ],
});

/** A fresh run folder with a job of 40 steps in it; returns the run folder. */
export async function makeRun(world: World, changes: Partial<JobOptions> & { lr?: number } = {}): Promise<string> {
  const runFolder = path.join(world.root, `run-${numRuns++}`);
  const numSteps = changes.numSteps ?? 40;
  const half = Math.ceil(numSteps / 2);
  await compileJob({
    folder: path.join(runFolder, 'job'),
    name: 'tiny',
    model: world.model,
    precision: 'f32',
    seed: 7,
    batch: { seqLen: 64, sequencesPerStep: 4, sequencesPerMicroBatch: 2 },
    optimizer: OPTIMIZER,
    phases: [
      { name: 'first', firstStep: 0, numSteps: half, blend: { domain: 0.5, general: 0.5 } },
      { name: 'second', firstStep: half, numSteps: numSteps - half, blend: { domain: 0.8, general: 0.2 } },
    ],
    numSteps,
    shards: [
      { prefix: world.domain.trainPrefix, corpus: 'domain' },
      { prefix: world.general.trainPrefix, corpus: 'general' },
    ],
    schedule: Float32Array.from({ length: numSteps }, (_, i) => changes.lr ?? 3e-3 * (1 - i / numSteps)),
    checkpoint: { everySteps: 5, keep: 2 },
    evaluation: measured(world),
    record: { recipe: 'test' },
    ...changes,
  });
  return runFolder;
}

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  lines: string[];
  messages: EngineMessage[];
  stderr: string;
}

/** An engine under way. */
export interface Engine {
  child: ChildProcessByStdio<Writable, Readable, Readable>;
  /** Resolves with the first message that passes, already seen or to come; rejects when the engine ends without one. */
  until(passes: (message: EngineMessage) => boolean): Promise<EngineMessage>;
  ended: Promise<Ended>;
}

const alive = new Set<Engine['child']>();

/** Ends what a failed test has left. */
export function killEngines(): void {
  for (const child of alive) child.kill('SIGKILL');
}

interface StartOptions {
  threads?: number;
  env?: Record<string, string>;
  /** Shell limit, e.g. "ulimit -f 100". */
  under?: string;
}

export function startEngine(runFolder: string, { threads = 1, env, under }: StartOptions = {}): Engine {
  const command = [process.execPath, ENGINE, path.join(runFolder, 'job'), '--threads', String(threads)];
  const argv = under ? ['bash', '-c', `${under}; exec "$@"`, 'bash', ...command] : command;
  const child = spawn(argv[0]!, argv.slice(1), {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...process.env, ...env },
  });
  alive.add(child);
  const lines: string[] = [];
  const messages: EngineMessage[] = [];
  const waiting = new Set<() => void>();
  let stderr = '';
  let over = false;
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    lines.push(line);
    if (line.startsWith('{') && line.endsWith('}')) messages.push(JSON.parse(line) as EngineMessage);
    for (const look of waiting) look();
  });
  const ended = new Promise<Ended>((resolve) =>
    child.on('close', (code, signal) => {
      alive.delete(child);
      over = true;
      for (const look of waiting) look();
      resolve({ code, signal, lines, messages, stderr });
    }),
  );
  const until = (passes: (message: EngineMessage) => boolean) =>
    new Promise<EngineMessage>((resolve, reject) => {
      const look = () => {
        const found = messages.find(passes);
        if (!found && !over) return;
        waiting.delete(look);
        if (found) resolve(found);
        else reject(new Error(`the engine ended first: ${lines.slice(-3).join('\n')}\n${stderr}`));
      };
      waiting.add(look);
      look();
    });
  return { child, until, ended };
}

export const runEngine = (runFolder: string, options?: StartOptions): Promise<Ended> =>
  startEngine(runFolder, options).ended;

/** Bytes of the last checkpoint that decide how a run goes on. */
export function finalState(runFolder: string): { weights: Buffer; optimizer: Buffer; config: string } {
  const parent = path.join(runFolder, 'checkpoints');
  const last = fs.readdirSync(parent).sort().at(-1)!;
  const read = (file: string) => fs.readFileSync(path.join(parent, last, file));
  return {
    weights: read('model.safetensors'),
    optimizer: read('trainer/optimizer.safetensors'),
    config: read('config.json').toString(),
  };
}

export function sameState(a: string, b: string): { weights: boolean; optimizer: boolean; config: boolean } {
  const [x, y] = [finalState(a), finalState(b)];
  return {
    weights: x.weights.equals(y.weights),
    optimizer: x.optimizer.equals(y.optimizer),
    config: x.config === y.config,
  };
}

export const SAME = { weights: true, optimizer: true, config: true };

export function readLines(file: string): Record<string, unknown>[] {
  return fs
    .readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
