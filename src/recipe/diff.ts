// What differs between two plans, with the reason that the newer one gives: one changed input changes only what follows from it.
import { formatBytes, formatCount, formatSeconds } from '../base/units.ts';
import { formatLr, formatShare } from './learning-rates.ts';
import { shareInPhase } from './phases.ts';
import type { Plan, PlanPhase } from './types.ts';

export interface PlanChange {
  what: string;
  /** Absent: it was not there. */
  before?: string;
  /** Absent: it is gone. */
  after?: string;
  why?: string;
}

export function diffPlans(before: Plan, after: Plan): PlanChange[] {
  const changes: PlanChange[] = [];
  const compare = (what: string, old: string | undefined, now: string | undefined, why?: string) => {
    if (old !== now) changes.push({ what, before: old, after: now, why });
  };
  compare('recipe', before.preset, after.preset, after.presetTitle);
  compare('model', before.model.name, after.model.name);
  const [oldCorpora, newCorpora] = [before, after].map(
    ({ corpora }) =>
      new Map(
        corpora.map((c) => [
          c.name,
          `${c.role}, ${formatCount(c.numTokens)} tokens, held out ${formatCount(c.heldOut.numTokens)}`,
        ]),
      ),
  );
  for (const name of union(oldCorpora!.keys(), newCorpora!.keys()))
    compare(`corpus ${name}`, oldCorpora!.get(name), newCorpora!.get(name));

  const [oldReasons, newReasons] = [before, after].map(
    ({ reasons }) => new Map(reasons.map((reason) => [reason.what, reason])),
  );
  for (const what of union(oldReasons!.keys(), newReasons!.keys())) {
    const [old, now] = [oldReasons!.get(what), newReasons!.get(what)];
    compare(what, old?.value, now?.value, now && `${now.why} [${now.source}]`);
  }
  for (let i = 0; i < Math.max(before.phases.length, after.phases.length); i++) {
    const [old, now] = [before.phases[i], after.phases[i]];
    compare(`phase ${i + 1}`, old && describePhase(old), now && describePhase(now));
  }
  for (const name of union(Object.keys(before.expected.tokensByCorpus), Object.keys(after.expected.tokensByCorpus)))
    compare(`tokens of ${name}`, trained(before, name), trained(after, name));
  compare('time', timeOf(before), timeOf(after));
  compare('memory', formatBytes(before.expected.memory.totalBytes), formatBytes(after.expected.memory.totalBytes));
  const [oldChecks, newChecks] = [before, after].map(
    ({ warnings }) => new Map(warnings.map((w) => [`check ${w.id}`, `${w.severity}: ${w.evidence}`])),
  );
  for (const id of union(oldChecks!.keys(), newChecks!.keys())) compare(id, oldChecks!.get(id), newChecks!.get(id));
  return changes;
}

function union(a: Iterable<string>, b: Iterable<string>): Set<string> {
  return new Set([...a, ...b]);
}

function describePhase(phase: PlanPhase): string {
  const { name, firstStep, numSteps, numTokens, seqLen, lrFrom, lrTo, blend } = phase;
  const shares = Object.keys({ ...blend, ...phase.blendTo }).map(
    (corpus) => `${corpus} ${formatShare(shareInPhase(phase, corpus))}`,
  );
  return `"${name}", steps ${firstStep}-${firstStep + numSteps - 1}, ${formatCount(numTokens)} tokens${seqLen ? ` in sequences of ${seqLen}` : ''}, LR ${formatLr(lrFrom)} -> ${formatLr(lrTo)}, ${shares.slice(0, 8).join(', ')}${shares.length > 8 ? `, ${shares.length - 8} more` : ''}`;
}

function trained({ expected }: Plan, name: string): string | undefined {
  const tokens = expected.tokensByCorpus[name];
  return tokens === undefined
    ? undefined
    : `${formatCount(tokens)} (${(expected.epochsByCorpus[name] ?? 0).toFixed(2)} epochs)`;
}

function timeOf({ expected }: Plan): string | undefined {
  // A speed that is measured each time differs by a little each time.
  return expected.seconds === undefined ? undefined : `about ${formatSeconds(Number(expected.seconds.toPrecision(1)))}`;
}

/** For people; a line says so where nothing differs. */
export function explainDiff(changes: readonly PlanChange[]): string {
  if (changes.length === 0) return 'The plan is the same as before.';
  return changes
    .map(({ what, before, after, why }) =>
      [`${what}: ${before ?? '(none)'} -> ${after ?? '(none)'}`, ...(why && after ? [`    Why: ${why}`] : [])].join(
        '\n',
      ),
    )
    .join('\n');
}
