import * as fs from 'node:fs';
import * as path from 'node:path';
import * as readline from 'node:readline/promises';
import type { Command } from 'commander';
import { ConfigError } from '../base/errors.ts';
import { type ConfigAnswers, PRESET_NAMES, writeConfig } from '../config/index.ts';
import { collect, declare, EXIT_INTERRUPTED, Exit } from './command.ts';
import type { Output } from './output.ts';

interface InitOptions {
  model?: string;
  domain?: string[];
  general?: string[];
  tokens?: string;
  recipe?: string;
  out: string;
  yes?: boolean;
  force?: boolean;
}

/** Those that a first file can name: `custom` is written by hand, `from-scratch` has no model to begin with. */
const RECIPES = PRESET_NAMES.filter((name) => name !== 'custom' && name !== 'from-scratch');

export function initCommand(output: Output): Command {
  return declare(
    'init',
    'Write a first, commented continuo.yaml. Asks for what the options leave open.',
    'continuo init --model HuggingFaceTB/SmolLM2-135M --domain "docs/**/*.md" --general general/ --tokens 20M --yes',
  )
    .option('--model <model>', 'what to continue: a folder, a GGUF file or a hub id')
    .option(
      '--domain <path>',
      'documents to learn from: a file, a folder or a pattern; may be given several times',
      collect,
    )
    .option('--general <path>', 'general text that guards what the model knows; may be given several times', collect)
    .option('--tokens <count>', 'budget, e.g. 20M (default: two passes over the domain)')
    .option('--recipe <name>', `one of ${RECIPES.join(', ')}`)
    .option('--out <file>', 'file to write', 'continuo.yaml')
    .option('--yes', 'ask nothing; take the default for whatever is not given')
    .option('--force', 'overwrite the file if it exists')
    .action(async (options: InitOptions) => {
      // Before any question is asked: nobody likes to answer for nothing.
      if (!options.force && fs.existsSync(options.out))
        throw new ConfigError(
          `${options.out}: exists already. Edit it, choose another name with --out, or overwrite it with --force.`,
        );
      const answers = options.yes ? options : await ask(options, output);
      writeConfig(toConfig(answers), options.out, { overwrite: options.force });
      output.print(`Wrote ${options.out}. Next: continuo plan ${options.out}`);
    });
}

async function ask(options: InitOptions, output: Output): Promise<InitOptions> {
  const open = (['model', 'domain'] as const).filter((name) => options[name] === undefined);
  if (!process.stdin.isTTY) {
    if (open.length === 0) return options;
    throw new ConfigError(`There is no terminal to ask on. Give ${open.map((name) => `--${name}`).join(' and ')}.`);
  }
  const terminal = readline.createInterface({ input: process.stdin, output: process.stderr });
  const question = async (text: string): Promise<string | undefined> => {
    try {
      return (await terminal.question(`${text}: `)).trim() || undefined;
    } catch (error) {
      // Ctrl-C or Ctrl-D instead of an answer.
      if ((error as Error).name !== 'AbortError') throw error;
      output.note('');
      throw new Exit(EXIT_INTERRUPTED);
    }
  };
  const list = async (text: string): Promise<string[] | undefined> => (await question(text))?.split(/\s+/);
  try {
    return {
      ...options,
      model: options.model ?? (await question('Model to continue (folder, GGUF file or hub id)')),
      domain: options.domain ?? (await list('Documents to learn from (files, folders or patterns)')),
      general: options.general ?? (await list('General text that guards what it knows (recommended; empty for none)')),
      tokens: options.tokens ?? (await question('Budget in tokens, e.g. 20M (empty: two passes over the documents)')),
    };
  } finally {
    terminal.close();
  }
}

function toConfig({ model, domain, general, tokens, recipe, out }: InitOptions): ConfigAnswers {
  if (!model) throw new ConfigError('No model was given. Give --model: a folder, a GGUF file or a hub id.');
  if (!domain?.length) throw new ConfigError('No documents were given. Give --domain: a file, a folder or a pattern.');
  const corpus = (name: string, role: 'domain' | 'general', paths: string[]) => {
    const relative = paths.map((file) => fromFile(file, out));
    return { name, role, path: relative.length === 1 ? relative[0]! : relative };
  };
  return {
    model: fs.existsSync(model) ? fromFile(model, out) : model,
    corpora: [corpus('domain', 'domain', domain), ...(general?.length ? [corpus('general', 'general', general)] : [])],
    recipe,
    budget: tokens ? { tokens } : { epochs: 2 },
  };
}

/** Paths are given from here but stand in a file that may lie elsewhere. */
function fromFile(target: string, file: string): string {
  const folder = path.dirname(path.resolve(file));
  const local = !path.isAbsolute(target) && !target.includes('://');
  return local && folder !== process.cwd() ? path.relative(folder, path.resolve(target)) : target;
}
