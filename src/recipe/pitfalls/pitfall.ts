// The shape of a rule: a known way to waste a run.
import type { Plan, PlanInputs, Severity } from '../types.ts';

export interface Finding {
  message: string;
  /** The numbers that made it fire. */
  evidence: string;
  fix: string;
  /** Where it differs from the rule's. */
  severity?: Severity;
}

export interface Pitfall {
  id: string;
  severity: Severity;
  source: string;
  check: (inputs: PlanInputs, plan: Plan) => Finding | undefined;
}

/** Evidence of many corpora: the first few, and how many more. */
export function listed(items: readonly string[], separator = ', '): string {
  const shown = 5;
  const rest = items.length - shown;
  return [...items.slice(0, shown), ...(rest > 0 ? [`${rest} more`] : [])].join(separator);
}
