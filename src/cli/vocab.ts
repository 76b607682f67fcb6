import type { Command } from 'commander';
import { formatCount } from '../base/units.ts';
import type { VocabRequest, VocabResult } from '../pipeline/index.ts';
import { type CommonOptions, collect, count, declare, json, pipelineOptions, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatKnownFacts } from './table.ts';

const NUM_SHOWN = 8;

export function vocabCommand(output: Output): Command {
  const command = declare(
    'vocab',
    'Measure how a model’s vocabulary cuts up a domain’s words, and write a copy of the model with tokens of the domain added.',
    'continuo vocab HuggingFaceTB/SmolLM2-135M --data "handbook/**/*.md" --add 2000 --out smollm2-handbook',
  )
    .argument('<model>', 'a model folder, a GGUF file or a hub id')
    .requiredOption('--data <path>', 'documents of the domain; may be given several times', collect)
    .option('--field <name>', 'field of JSONL and Parquet rows that holds the text')
    .option('--add <n>', 'tokens to add; without it the fit is only measured', count)
    .option('--out <folder>', 'where the enlarged model goes')
    .option('--force', 'replace the folder if it exists');
  return withOptions(command, 'json', 'quiet').action(
    async (model: string, options: CommonOptions & Omit<VocabRequest, 'model'>) => {
      const { vocab } = await import('../pipeline/index.ts');
      const result = await vocab({ ...options, model }, pipelineOptions(options, output));
      output.print(options.json ? json(result) : page(result, output));
    },
  );
}

function page(result: VocabResult, { paint }: Output): string {
  const { before, after, added, out } = result;
  const then = (of: (fit: VocabResult['before']) => string) => (after ? `${of(before)} -> ${of(after)}` : of(before));
  const lines: [string, string | undefined][] = [
    ['documents', `${formatCount(result.numDocuments)}, measured on ${formatCount(result.numHeldOut)} held out`],
    ['tokens a word', then((fit) => fit.tokensPerWord.toFixed(3))],
    ['bytes a token', then((fit) => fit.bytesPerToken.toFixed(2))],
    ['single bytes', `${then((fit) => `${(100 * fit.singleByteShare).toFixed(1)} %`)} of tokens`],
    ['costly words', words(before)],
    ['still costly', after && words(after)],
    ['added', added && `${formatCount(added.length)}, such as ${examples(added)}`],
    ['written', out && `${out}: ${formatCount(result.vocabRows!)} rows, new ones the mean of what they replace`],
    ['next', out && `train on it, for new rows are only a beginning: model: ${out} in continuo.yaml`],
  ];
  return formatKnownFacts(lines, paint);
}

function words({ worst }: VocabResult['before']): string {
  if (worst.length === 0) return 'none';
  return worst
    .slice(0, NUM_SHOWN)
    .map(({ word, count, tokens }) => `${word} (${tokens.length} tokens, ${formatCount(count)} times)`)
    .join('\n');
}

function examples(added: NonNullable<VocabResult['added']>): string {
  return added
    .slice(0, NUM_SHOWN)
    .map(({ text }) => JSON.stringify(text))
    .join(' ');
}
