// HumanEval and MBPP: what is run, and pass@k of how many of it pass. Chen et al. 2021 (arXiv:2107.03374), section 2.1; Austin et al. 2021.
import { ConfigError } from '../../base/errors.ts';
import { shots } from './shots.ts';
import type { Doc, MetricArguments, RunCode, Twins } from './types.ts';

/** The unbiased estimate of the chance that one of k samples passes, of n samples of which c passed. */
export function estimatePassAtK(n: number, c: number, k: number): number {
  if (n - c < k) return 1;
  let allFail = 1;
  for (let i = n - c + 1; i <= n; i++) allFail *= 1 - k / i;
  return 1 - allFail;
}

function allowed(runCode: RunCode | undefined, metric: string): RunCode {
  if (runCode) return runCode;
  throw new ConfigError(
    `${metric} runs programs that the model wrote, and that was not allowed. Give --run-generated-code to run them in a separate, limited process (docs/task-functions.md says what it guards against).`,
  );
}

/** Programs of one document with its test behind them. @returns pass@k for every k that there are samples enough for */
async function passAtK(
  references: readonly unknown[],
  predictions: readonly unknown[],
  ks: readonly number[],
  run: RunCode,
) {
  const counts = await Promise.all(
    references.map(async (test, i) => {
      const candidates = predictions[i] as readonly string[];
      const results = await Promise.all(candidates.map((candidate) => run(`${candidate}\n${test as string}`)));
      return { n: results.length, c: results.filter((result) => result.passed).length };
    }),
  );
  const scores: Record<string, number> = {};
  for (const k of ks)
    if (counts.every(({ n }) => n >= k))
      scores[`pass@${k}`] = counts.reduce((sum, { n, c }) => sum + estimatePassAtK(n, c, k), 0) / counts.length;
  return scores;
}

/** The first fenced block of an answer whose opening fence was part of the prompt. */
function codeBlock(answer: string): string {
  const blocks = (text: string) => /```(?:[\p{L}\p{N}_]+)?\n?([\s\S]*?)\n?```/u.exec(text)?.[1];
  const fenced = '```' + answer;
  return blocks(fenced) ?? blocks(answer.replaceAll('```python', '```')) ?? '';
}

export const humaneval: Twins = {
  'utils.pass_at_k': ({ references, predictions, k, runCode }: MetricArguments) =>
    passAtK(references, predictions, typeof k === 'number' ? [k] : (k as number[]), allowed(runCode, 'pass_at_k')),
  'utils.build_predictions': (responses: readonly (readonly string[])[], docs: readonly Doc[]) =>
    responses.map((answers, i) => answers.map((answer) => docs[i]!.prompt + answer)),
  'utils.build_predictions_instruct': (responses: readonly (readonly string[])[], docs: readonly Doc[]) =>
    responses.map((answers, i) => answers.map((answer) => docs[i]!.prompt + answer.split('```')[0])),
};

export const mbpp: Twins = {
  'utils.pass_at_1': async ({ references, predictions, runCode }: MetricArguments) => {
    const run = allowed(runCode, 'pass_at_1');
    const lists = typeof predictions[0] === 'string' ? predictions.map((prediction) => [prediction]) : predictions;
    return (await passAtK(references, lists, [1], run))['pass@1'];
  },
  'utils.build_predictions': (responses: readonly (readonly string[])[]) =>
    responses.map((answers) => answers.map(codeBlock)),
  'utils.list_fewshot_samples': () => shots('mbpp'),
};

export const humanevalInfilling: Twins = {
  'utils.pass_at_k': humaneval['utils.pass_at_k']!,
  'utils.build_predictions': (responses: readonly (readonly string[])[], docs: readonly Doc[]) =>
    responses.map((answers, i) => answers.map((answer) => docs[i]!.prompt + answer + docs[i]!.suffix)),
};
