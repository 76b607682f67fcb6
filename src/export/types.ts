// What the writer of a framework's folder is given, and what it says about what it wrote.
import type { Plan } from '../recipe/index.ts';
import type { JobReader } from '../shards/index.ts';

/** Frameworks that a plan can be written for. */
export const FRAMEWORKS = ['axolotl', 'llama-factory', 'megatron', 'nemo', 'torchtitan', 'trl'] as const;
export type Framework = (typeof FRAMEWORKS)[number];

export interface ExportSource {
  plan: Plan;
  /** Steps, their LR, and their sequences in order; docs/formats-data.md. Its order is decided to the end. */
  job: JobReader;
  /** Hugging Face folder that training begins with, absolute. */
  model: string;
  /** The run's configuration, absolute: for commands. */
  config: string;
  /** Where the folder will stand, absolute: for commands. Files are written into the writer's second argument. */
  folder: string;
  /** No progress. */
  quiet?: boolean;
}

/** A part of the plan, and how much of it the framework keeps to. */
export interface Carried {
  what: string;
  how: 'exact' | 'approximate' | 'missing';
  /** How it is done, how far it is off, or what it means that it is missing. */
  note: string;
}

export interface Exported {
  /** The framework's name as its users write it, and what was tried: "TRL 1.16.0". */
  title: string;
  /** What the README says before the commands. */
  intro: string;
  /** In the order in which a reader wants them, relative to the folder; README.md and export.json are added. */
  files: { file: string; what: string }[];
  /** What to do with it, in order: a heading, a sentence where one is needed, lines of a shell. */
  commands: { heading: string; text?: string; lines: string[] }[];
  carried: Carried[];
  /** What would make training differ and is not to be overlooked: it heads the README, and is printed. */
  warnings: string[];
}

export interface Exporter {
  framework: Framework;
  /** @throws ConfigError for what the framework cannot do and that would silently train another model */
  check(source: ExportSource): void;
  /** Writes all files into `folder`, which exists and is empty. Data is streamed. */
  write(source: ExportSource, folder: string): Promise<Exported>;
}
