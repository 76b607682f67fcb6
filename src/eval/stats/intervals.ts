// Standard errors and intervals of one model's scores.
import { criticalT } from './distributions.ts';

export interface Interval {
  low: number;
  high: number;
}

/** The level of every interval and test here unless another is given. */
export const ALPHA = 0.05;

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]!;
  return sum / values.length;
}

/**
 * Standard error of a mean (of a proportion, where the values are 0 and 1), with n - 1 in the variance; 0 for fewer than two values.
 * @param clusters one name a value: values of one cluster (questions on one passage) may resemble each other. Then the error is that of
 * Miller 2024 (arXiv 2411.00640, section 2.2), without a correction for few clusters: the sum over clusters of squared sums of residuals.
 */
export function standardError(values: ArrayLike<number>, clusters?: readonly string[]): number {
  const n = values.length;
  if (n < 2) return 0;
  const middle = mean(values);
  if (!clusters) {
    let squares = 0;
    for (let i = 0; i < n; i++) squares += (values[i]! - middle) ** 2;
    return Math.sqrt(squares / (n - 1) / n);
  }
  const sums = new Map<string, number>();
  for (let i = 0; i < n; i++) sums.set(clusters[i]!, (sums.get(clusters[i]!) ?? 0) + values[i]! - middle);
  let squares = 0;
  for (const sum of sums.values()) squares += sum * sum;
  return Math.sqrt(squares) / n;
}

/** Wilson's score interval of a proportion (Wilson 1927): right near 0 and 1 too, where p plus or minus two errors is not. */
export function wilsonInterval(numSuccesses: number, n: number, alpha = ALPHA): Interval {
  if (n === 0) return { low: 0, high: 1 };
  const z = criticalT(alpha);
  const p = numSuccesses / n;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z / (1 + (z * z) / n)) * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  return { low: Math.max(0, middle - half), high: Math.min(1, middle + half) };
}
