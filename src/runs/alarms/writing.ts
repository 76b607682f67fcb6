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

/** @param numLooks samplings of the whole run */
export function worseWriting(
  base: readonly WritingSample[],
  now: readonly WritingSample[],
  reference: Bigrams | undefined,
  numLooks: number,
): Finding[] {
  const pairs = now.flatMap((sample, i) =>
    base[i]?.prompt === sample.prompt ? [{ before: base[i], now: sample }] : [],
  );
  if (pairs.length < 2) return [];
  const level = LEVEL / (numLooks * (RATES.length + 2));
  const repeated = ({ text }: WritingSample) => textSigns(text).repeated;
  const spoken = pairs.filter((pair) => pair.before.tokens.length > 0 && pair.now.tokens.length > 0);
  const surprise = (sample: WritingSample) => reference!.surprise(sample.lastOfPrompt, sample.tokens);
  return [
    meanRise(
      'repetition',
      pairs,
      repeated,
      MIN_REPEATED,
      level,
      (before, after) =>
        `${percentText(after)} of the 4-grams that it writes stood there before, of the base's ${percentText(before)}`,
    ),
    ...(reference
      ? [
          meanRise(
            'incoherence',
            spoken,
            surprise,
            MIN_SURPRISE,
            level,
            (before, after) =>
              `its words follow each other less ordinarily: ${after.toFixed(2)} nats a token by the pairs of the held-out text, the base's ${before.toFixed(2)}`,
          ),
        ]
      : []),
    ...RATES.map((rate) => rateRise(rate, pairs, level)),
  ].filter((finding) => finding !== undefined);
}

interface Pair {
  before: WritingSample;
  now: WritingSample;
}

function meanRise(
  subject: string,
  pairs: readonly Pair[],
  value: (sample: WritingSample) => number,
  least: number,
  level: number,
  word: (before: number, now: number) => string,
): Finding | undefined {
  const [first, second] = [pairs.map(({ before }) => value(before)), pairs.map(({ now }) => value(now))];
  const { difference, p } = pairedDifference(first, second);
  if (!(difference >= least) || p / 2 >= level) return undefined;
  const mean = (values: readonly number[]) => values.reduce((sum, x) => sum + x, 0) / values.length;
  return finding(subject, difference, least, `${word(mean(first), mean(second))}; ${pairs.length} samples`);
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

function rateRise(
  { subject, what, holds }: (typeof RATES)[number],
  pairs: readonly Pair[],
  level: number,
): Finding | undefined {
  const appeared = pairs.filter(({ before, now }) => holds(now) && !holds(before)).length;
  const vanished = pairs.filter(({ before, now }) => holds(before) && !holds(now)).length;
  const value = (appeared - vanished) / pairs.length;
  if (value < MIN_SHARE || mcnemar(appeared, vanished).midP / 2 >= level) return undefined;
  const share = (of: (pair: Pair) => WritingSample) =>
    percentText(pairs.filter((pair) => holds(of(pair))).length / pairs.length);
  return finding(
    subject,
    value,
    MIN_SHARE,
    `${share(({ now }) => now)} of ${pairs.length} samples ${what}, of the base's ${share(({ before }) => before)}`,
  );
}

function finding(subject: string, value: number, limit: number, message: string): Finding {
  return { alarm: 'writing', subject, value, limit, severity: value / limit, message: `writing: ${message}` };
}
