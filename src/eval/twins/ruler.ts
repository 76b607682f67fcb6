// RULER as lm-evaluation-harness runs it: 500 samples at each length, scored by the share of answers that a response names.
import { ConfigError } from '../../base/errors.ts';
import { type LongContextKind, longContextSample, matchAll, readQuestions } from '../long-context/index.ts';
import { strip } from '../python/text.ts';
import type { DatasetArguments, Doc, Twins } from './types.ts';

const DEFAULT_LENGTHS = [4096];
const NUM_SAMPLES = 500;
const SEED = 42;

/** `data_file` (metadata): questions with their documents, where the original downloads them. `num_samples`: fewer than 500 a length. */
const dataset =
  (kind: LongContextKind) =>
  ({ countTokens, max_seq_lengths = DEFAULT_LENGTHS, data_file, num_samples = NUM_SAMPLES }: DatasetArguments) => {
    if (kind === 'qa' && typeof data_file !== 'string')
      throw new ConfigError(
        "RULER's questions need a file of them: give metadata data_file, a JSON file as SQuAD has it. Nothing is downloaded from its authors' pages.",
      );
    const questions = kind === 'qa' ? readQuestions(data_file as string) : undefined;
    const test = max_seq_lengths.flatMap((lengthTokens) =>
      Array.from({ length: num_samples as number }, (_, index): Doc => {
        const sample = longContextSample({
          kind,
          lengthTokens,
          seed: SEED * 1_000_003 + index,
          countTokens,
          questions,
        });
        return {
          index,
          input: sample.input,
          outputs: sample.answers,
          length: sample.numTokens + sample.maxAnswerTokens,
          max_length: lengthTokens,
          gen_prefix: sample.answerPrefix,
        };
      }),
    );
    return { test };
  };

/** Under the document's length; -1 under the default length, which aggregation leaves out, for documents of another. */
function score(doc: Doc, [response]: readonly string[]): Record<string, number> {
  const text = strip(strip(response!).replace(/[\x00-\x1f]/g, '\n'));
  return {
    ...Object.fromEntries(DEFAULT_LENGTHS.map((length) => [length, -1])),
    [doc.max_length]: matchAll(text, doc.outputs),
  };
}

const NEEDLES = [
  'single_1',
  'single_2',
  'single_3',
  'multikey_1',
  'multikey_2',
  'multikey_3',
  'multivalue',
  'multiquery',
] as const;

export const ruler: Twins = {
  ...Object.fromEntries(NEEDLES.map((name) => [`niah_utils.niah_${name}`, dataset(`niah_${name}`)])),
  'vt_utils.get_vt_dataset': dataset('vt'),
  'cwe_utils.get_cw_dataset': dataset('cwe'),
  'fwe_utils.fwe_download': dataset('fwe'),
  'qa_utils.get_squad': dataset('qa'),
  'qa_utils.get_hotpotqa': dataset('qa'),
  'common_utils.process_results': score,
  // For one response lm-evaluation-harness's part is its all: the maximum is taken over responses, not over answers as RULER's own.
  'common_utils.process_results_part': score,
  'common_utils.aggregate_metrics': (values: readonly number[]) => {
    const known = values.filter((value) => value !== -1);
    return known.length === 0 ? -1 : known.reduce((sum, value) => sum + value, 0) / known.length;
  },
};
