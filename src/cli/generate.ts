import * as fs from 'node:fs';
import type { Command } from 'commander';
import { ConfigError } from '../base/errors.ts';
import { explainSystemError } from '../base/files.ts';
import type { GenerateResult } from '../pipeline/index.ts';
import {
  type CommonOptions,
  collect,
  declare,
  json,
  number,
  pipelineOptions,
  positiveInteger,
  withOptions,
} from './command.ts';
import type { Output } from './output.ts';

interface GenerateOptions extends CommonOptions {
  prompt?: string;
  promptFile?: string;
  chat?: boolean;
  maxTokens: number;
  temperature: number;
  topP: number;
  topK: number;
  minP: number;
  repetitionPenalty: number;
  seed: number;
  stop?: string[];
}

export function generateCommand(output: Output): Command {
  const command = declare(
    'generate',
    'Let a model go on with a text, or answer a message, token by token.',
    'continuo generate runs/handbook/checkpoints/step-00000400 --prompt "To restore a backup," --max-tokens 60',
  )
    .argument('<model>', 'a model folder, a GGUF file or a hub id')
    .option('--prompt <text>', 'the text to go on with')
    .option('--prompt-file <file>', 'read the prompt from a file; - is standard input')
    .option('--chat', "the prompt is a user's message: written by the model's chat template")
    .option('--max-tokens <n>', 'tokens to generate at most', positiveInteger, 256)
    .option('--temperature <t>', '0 takes the likeliest token each time; 1 draws as the model predicts', number, 0)
    .option('--top-k <n>', 'draw among the n likeliest tokens only; 0: among all', number, 0)
    .option('--top-p <p>', 'draw among the likeliest tokens that together reach this probability', number, 1)
    .option('--min-p <p>', 'draw among tokens at least this times as likely as the likeliest', number, 0)
    .option('--repetition-penalty <x>', 'above 1: tokens that were there already become less likely', number, 1)
    .option('--seed <n>', 'the same seed gives the same text', number, 0)
    .option('--stop <text>', 'end before this text; may be given several times', collect);
  return withOptions(command, 'threads', 'json', 'quiet').action(async (model: string, options: GenerateOptions) => {
    const { generate } = await import('../pipeline/index.ts');
    const { chat = false, maxTokens, stop = [] } = options;
    const { temperature, topK, topP, minP, repetitionPenalty, seed } = options;
    const prompt = readPrompt(options);
    const sampling = { temperature, topK, topP, minP, repetitionPenalty, seed };
    const print = options.json ? () => {} : output.write;
    const request = { prompt, chat, maxTokens, stop, sampling };
    const result = await generate(model, request, print, pipelineOptions(options, output));
    if (options.json) return output.print(json(result));
    output.write('\n');
    if (!options.quiet) output.note(output.paint.dim(speed(result)));
  });
}

function readPrompt({ prompt, promptFile }: GenerateOptions): string {
  if ((prompt === undefined) === (promptFile === undefined))
    throw new ConfigError('give the prompt as --prompt TEXT or --prompt-file FILE, one of them.');
  if (promptFile === undefined) return prompt!;
  try {
    return fs.readFileSync(promptFile === '-' ? 0 : promptFile, 'utf8');
  } catch (error) {
    throw explainSystemError(error, promptFile, 'reading the prompt');
  }
}

function speed({ numPromptTokens, numTokens, promptMs, decodeMs, finishReason }: GenerateResult): string {
  const rate = (tokens: number, ms: number) => ((tokens * 1000) / ms).toPrecision(3);
  const decoded = numTokens > 1 ? ` at ${rate(numTokens - 1, decodeMs)} tokens/s` : '';
  const end = finishReason === 'stop' ? 'ended by itself' : 'ended at --max-tokens or the end of the context';
  return `prompt of ${numPromptTokens} tokens at ${rate(numPromptTokens, promptMs)} tokens/s; ${numTokens} tokens${decoded}; ${end}`;
}
