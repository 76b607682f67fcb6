// What the model writes on from the same prompts at each measurement, beside what the base wrote. Each sign must be more frequent or
// stronger than the base's by a margin, and beyond chance at a level that holds over all evaluations of the run.
import { guessLanguage } from '../../corpus/index.ts';
import type { WritingSample } from '../../engine/index.ts';
import { mcnemar, pairedDifference, textSigns } from '../../eval/index.ts';
import type { Bigrams } from './bigram.ts';
import { type Finding, percentText } from './finding.ts';

/** Chance of a false alarm over a whole run, all signs together. */
const LEVEL = 0.01;
/** By so much more 4-grams that stood there before: a fifth of the text says nothing new. Assumption, held against experiments/alarms. */
const MIN_REPEATED = 0.2;
/** By so many nats a token less ordinary. Assumption, held against experiments/alarms. */
const MIN_SURPRISE = 1;
/** By so many more of the samples. Assumption. */
const MIN_SHARE = 0.25;

/** How a sign of the samples compares with the base's. */
export interface WritingSign {
  subject: string;
  /** How much more there is of it, and what is too much. */
  value: number;
  limit: number;
  /** One-sided: of so much more by chance. */
  p: number;
  message: () => string;
}

/** @param numLooks samplings of the whole run */
export function worseWriting(
  base: readonly WritingSample[],
  now: readonly WritingSample[],
  reference: Bigrams | undefined,
  numLooks: number,
): Finding[] {
  const level = LEVEL / (numLooks * (RATES.length + 2));
  return writingSigns(base, now, reference).flatMap(({ subject, value, limit, p, message }) =>
    value >= limit && p < level
      ? [{ alarm: 'writing', subject, value, limit, severity: value / limit, message: `writing: ${message()}` }]
      : [],
  );
}

/** All signs, whether or not they are worse than they may be. */
export function writingSigns(
  base: readonly WritingSample[],
  now: readonly WritingSample[],
  reference: Bigrams | undefined,
): WritingSign[] {
  const pairs = now.flatMap((sample, i) =>
    base[i]?.prompt === sample.prompt ? [{ before: base[i], now: sample }] : [],
  );
  if (pairs.length < 2) return [];
  const repeated = ({ text }: WritingSample) => textSigns(text).repeated;
  const spoken = pairs.filter((pair) => pair.before.tokens.length > 0 && pair.now.tokens.length > 0);
  const surprise = (sample: WritingSample) => reference!.surprise(sample.lastOfPrompt, sample.tokens);
  return [
    meanRise(
      'repetition',
      pairs,
      repeated,
      MIN_REPEATED,
      (before, after) =>
        `${percentText(after)} of the 4-grams that it writes stood there before, of the base's ${percentText(before)}`,
    ),
    ...(reference && spoken.length > 1
      ? [
          meanRise(
            'incoherence',
            spoken,
            surprise,
            MIN_SURPRISE,
            (before, after) =>
              `its words follow each other less ordinarily: ${after.toFixed(2)} nats a token by the pairs of the held-out text, the base's ${before.toFixed(2)}`,
          ),
        ]
      : []),
    ...RATES.map((rate) => rateRise(rate, pairs)),
  ];
}

interface Pair {
  before: WritingSample;
  now: WritingSample;
}

function meanRise(
  subject: string,
  pairs: readonly Pair[],
  value: (sample: WritingSample) => number,
  limit: number,
  word: (before: number, now: number) => string,
): WritingSign {
  const [first, second] = [pairs.map(({ before }) => value(before)), pairs.map(({ now }) => value(now))];
  const { difference, p } = pairedDifference(first, second);
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  const message = () => `${word(mean(first), mean(second))}; ${pairs.length} samples`;
  return { subject, value: difference, limit, p: p / 2, message };
}

const RATES: readonly { subject: string; what: string; holds: (sample: WritingSample) => boolean }[] = [
  { subject: 'empty', what: 'are empty', holds: ({ text }) => text.trim() === '' },
  { subject: 'endless', what: 'do not end', holds: ({ ended }) => !ended },
  { subject: 'language', what: 'are in another language than their prompt', holds: hasLeftLanguage },
];

function hasLeftLanguage({ prompt, text }: WritingSample): boolean {
  const [from, to] = [guessLanguage(prompt), guessLanguage(text)];
  return from !== 'unknown' && to !== 'unknown' && from !== to;
}

function rateRise({ subject, what, holds }: (typeof RATES)[number], pairs: readonly Pair[]): WritingSign {
  const appeared = pairs.filter(({ before, now }) => holds(now) && !holds(before)).length;
  const vanished = pairs.filter(({ before, now }) => holds(before) && !holds(now)).length;
  const value = (appeared - vanished) / pairs.length;
  const share = (of: (pair: Pair) => WritingSample) =>
    percentText(pairs.filter((pair) => holds(of(pair))).length / pairs.length);
  const message = () =>
    `${share(({ now }) => now)} of ${pairs.length} samples ${what}, of the base's ${share(({ before }) => before)}`;
  return { subject, value, limit: MIN_SHARE, p: mcnemar(appeared, vanished).midP / 2, message };
}
