// How a rule says what it removes a document for.
import type { Removal } from '../types.ts';

/** The removal, where `value` is below `limit`. */
export function below(reason: string, value: number, limit: number): { removed: Removal } | undefined {
  return value < limit ? { removed: { reason, value, limit } } : undefined;
}

/** The removal, where `value` is above `limit`. */
export function above(reason: string, value: number, limit: number): { removed: Removal } | undefined {
  return value > limit ? { removed: { reason, value, limit } } : undefined;
}
