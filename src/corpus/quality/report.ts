// How good a classifier is, on documents that it has not seen.

export interface QualityReport {
  numTrained: number;
  /** Held out: good, bad. */
  numGood: number;
  numBad: number;
  /** At a score of 0.5; a good and a bad document count as much as each other however many there are. */
  accuracy: number;
  /** Share of pairs of a good and a bad document in which the good one scores higher. */
  auc: number;
  /** Mean distance between score and share of good ones, over ten ranges of the score, by documents (expected calibration error). */
  calibrationError: number;
  /** What a limit would keep. */
  limits: { min: number; goodKept: number; badKept: number }[];
}

export interface Scored {
  score: number;
  isGood: boolean;
}

const NUM_RANGES = 10;
const LIMITS = [0.1, 0.25, 0.5, 0.75, 0.9];

/** @param scored of both kinds at least one */
export function reportOn(scored: readonly Scored[], numTrained: number): QualityReport {
  const good = scored.filter(({ isGood }) => isGood);
  const bad = scored.filter(({ isGood }) => !isGood);
  const kept = (list: readonly Scored[], min: number) => list.filter(({ score }) => score >= min).length / list.length;
  return {
    numTrained,
    numGood: good.length,
    numBad: bad.length,
    accuracy: (kept(good, 0.5) + 1 - kept(bad, 0.5)) / 2,
    auc: areaUnderCurve(scored),
    calibrationError: calibrationError(scored, good.length, bad.length),
    limits: LIMITS.map((min) => ({ min, goodKept: kept(good, min), badKept: kept(bad, min) })),
  };
}

/** By ranks, those of equal scores shared (Mann and Whitney 1947). */
export function areaUnderCurve(scored: readonly Scored[]): number {
  const sorted = [...scored].sort((a, b) => a.score - b.score);
  let [rankSum, numGood] = [0, 0];
  for (let start = 0; start < sorted.length; ) {
    let end = start;
    while (end < sorted.length && sorted[end]!.score === sorted[start]!.score) end++;
    const goodHere = sorted.slice(start, end).filter(({ isGood }) => isGood).length;
    rankSum += goodHere * ((start + 1 + end) / 2);
    numGood += goodHere;
    start = end;
  }
  return (rankSum - (numGood * (numGood + 1)) / 2) / (numGood * (sorted.length - numGood));
}

/** The score is a probability among as many good as bad ones, so either kind weighs a half. */
function calibrationError(scored: readonly Scored[], numGood: number, numBad: number): number {
  const ranges = Array.from({ length: NUM_RANGES }, () => ({ weight: 0, score: 0, good: 0 }));
  for (const { score, isGood } of scored) {
    const range = ranges[Math.min(NUM_RANGES - 1, Math.floor(score * NUM_RANGES))]!;
    const weight = 0.5 / (isGood ? numGood : numBad);
    range.weight += weight;
    range.score += weight * score;
    if (isGood) range.good += weight;
  }
  return ranges.reduce((sum, { score, good }) => sum + Math.abs(score - good), 0);
}
