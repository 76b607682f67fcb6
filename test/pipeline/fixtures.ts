// A project folder: a configuration and its documents, small enough that a run takes a second or two.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { stringify } from 'yaml';
import { CLI, temporaryFolder, writeCorpus } from '../engine/fixtures.ts';

export const NEW_MODEL = {
  new: { hidden: 32, layers: 2, heads: 4, kvHeads: 2, ffn: 48, context: 128, vocab: 300 },
};

export interface Project {
  root: string;
  config: string;
  runFolder: string;
  /** Writes the configuration with these changes. */
  configure(changes: Record<string, unknown>): void;
}

export function makeProject(changes: Record<string, unknown> = {}): Project {
  const root = temporaryFolder('pipeline');
  const config = path.join(root, 'continuo.yaml');
  writeCorpus(path.join(root, 'domain.jsonl'), 1, 60);
  writeCorpus(path.join(root, 'general.jsonl'), 2, 60);
  writeCorpus(path.join(root, 'exam.jsonl'), 3, 5);
  const configure = (more: Record<string, unknown>) =>
    fs.writeFileSync(
      config,
      stringify({
        name: 'tiny',
        model: NEW_MODEL,
        corpora: {
          domain: { path: 'domain.jsonl', role: 'domain', heldOut: { documents: 4 } },
          general: { path: 'general.jsonl', role: 'general', heldOut: { documents: 4 } },
          exam: { path: 'exam.jsonl', role: 'evaluation' },
        },
        recipe: 'from-scratch',
        budget: { steps: 24 },
        training: { seqLen: 64, batchTokens: 256, microBatch: 2, precision: 'f32', seed: 3 },
        evaluate: { every: '8 steps' },
        checkpoints: { every: '4 steps', keep: 2 },
        ...more,
      }),
    );
  configure(changes);
  return { root, config, runFolder: path.join(root, 'runs', 'tiny'), configure };
}

export interface CliEnded {
  code: number | null;
  signal: NodeJS.Signals | null;
  out: string;
  err: string;
  elapsedMs: number;
}

export interface Cli {
  kill(signal: NodeJS.Signals): void;
  /** What it has said on stderr so far. */
  err(): string;
  ended: Promise<CliEnded>;
}

export function startCli(project: Project, ...args: string[]): Cli {
  const start = performance.now();
  const child = spawn(process.execPath, [CLI, ...args], { cwd: project.root, stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const ended = new Promise<CliEnded>((resolve) =>
    child.on('close', (code, signal) => resolve({ code, signal, out, err, elapsedMs: performance.now() - start })),
  );
  return { kill: (signal) => child.kill(signal), err: () => err, ended };
}
