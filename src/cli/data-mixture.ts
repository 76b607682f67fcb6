import type { Command } from 'commander';
import type { MixtureRequest, MixtureResult } from '../pipeline/index.ts';
import { type CommonOptions, collect, count, declare, json, number, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatTable } from './table.ts';

export function mixtureCommand(output: Output): Command {
  const command = declare(
    'mixture',
    'Say how the corpora of a run, as topics, should share their tokens next: more for those whose held-out perplexity fell least (Llama-3-SynE).',
    'continuo data mixture runs/handbook',
  )
    .argument('<run>', 'a run folder')
    .option('--corpus <name>', 'a topic; may be given several times (default: all domain corpora)', collect)
    .option('--from <step>', 'an evaluation (default: the last but one)', count)
    .option('--to <step>', 'a later one (default: the last)', count)
    .option('--rate <x>', 'how far shares move, from 0 to below 1 (default: 0.5)', number);
  return withOptions(command, 'json').action(
    async (run: string, options: CommonOptions & Omit<MixtureRequest, 'run'> & { corpus?: string[] }) => {
      const { nextMixture } = await import('../pipeline/index.ts');
      const { corpus: corpora, from, to, rate } = options;
      const result = nextMixture({ run, corpora, from, to, rate });
      output.print(options.json ? json(result) : page(result));
    },
  );
}

function page({ from, to, topics }: MixtureResult): string {
  const percent = (share: number, digits = 1) => `${(100 * share).toFixed(digits)} %`;
  const table = formatTable(
    [
      { title: 'topic' },
      { title: `perplexity at ${from}`, align: 'right' },
      { title: `at ${to}`, align: 'right' },
      { title: 'change', align: 'right' },
      { title: 'factor', align: 'right' },
      { title: 'share', align: 'right' },
      { title: 'next', align: 'right' },
    ],
    topics.map(({ name, before, after, change, factor, share, newShare }) => [
      name,
      before.toFixed(2),
      after.toFixed(2),
      `${change > 0 ? '+' : ''}${percent(change)}`,
      factor.toFixed(3),
      percent(share),
      percent(newShare),
    ]),
  );
  const weights = topics.map(({ name, newShare }) => `  ${name}: { weight: ${newShare.toFixed(4)} }`);
  return `${table}\n\nIn continuo.yaml, beside their other keys:\ncorpora:\n${weights.join('\n')}`;
}
