// Which documents are taken, and how often: quotas by cluster for CRISP, the largest keys for the others.
import { DataError } from '../../base/errors.ts';
import { formatCount } from '../../base/units.ts';
import { crispQuotas, roundQuotas, shares } from './quotas.ts';
import { type DocumentRecords, findEdges, isChosen } from './records.ts';
import type { ScoredCorpus } from './score.ts';
import { amountOf, type Stage } from './stage.ts';
import type { Target } from './target.ts';

export interface Choice {
  shortfall: number;
  /** How often a document is written, and the weight that is written beside it. Asked in the order of reading. */
  of(record: { document: number; key: number; cluster: number; score: number }): { numCopies: number; weight: number };
}

export function choose(
  stage: Stage,
  scored: ScoredCorpus,
  target: Target | undefined,
  records: DocumentRecords,
): Choice {
  const { method, wanted, maxRepeats } = stage;
  const available = scored.supply.reduce((sum, supply) => sum + supply, 0);
  if (available === 0)
    throw new DataError(
      stage.files[0].path,
      `no document may be selected: ${formatCount(scored.numWithoutCluster)} have no word that counts, ${formatCount(scored.numBelowQuality)} too little quality${method === 'ifd' ? `, ${formatCount(scored.numUndecided)} no question that helps with its answer` : ''}.`,
    );
  if (method === 'k-centre') {
    const { documents, radii } = scored.centres!;
    let next = 0;
    return {
      shortfall: Math.max(0, wanted.amount - available),
      of: ({ document }) =>
        document === documents[next] ? { numCopies: 1, weight: radii[next++] } : { numCopies: 0, weight: 0 },
    };
  }
  if (method !== 'crisp') {
    const edges = findEdges(
      records,
      Float64Array.of(wanted.amount),
      ({ cluster }) => Math.min(cluster, 0),
      amountOf(wanted.unit),
    );
    return {
      shortfall: Math.max(0, wanted.amount - available),
      of: ({ document, key, cluster, score }) => ({
        numCopies: cluster >= 0 && isChosen(edges, 0, key, document) ? 1 : 0,
        weight: score,
      }),
    };
  }
  const { amounts, shortfall } = crispQuotas(target!.amounts, scored.supply, wanted.amount, maxRepeats);
  const quotas = wanted.unit === 'documents' ? roundQuotas(amounts) : amounts;
  // A quota beyond the supply: everything so many times, and once more by chance as much as is left.
  const rounds = quotas.map((quota, c) => (scored.supply[c] > 0 ? Math.floor(quota / scored.supply[c]) : 0));
  const rest = quotas.map((quota, c) => quota - rounds[c] * scored.supply[c]);
  const edges = findEdges(records, rest, ({ cluster }) => cluster, amountOf(wanted.unit));
  const corpusShares = shares(scored.amounts);
  const weights = shares(target!.amounts).map((share, c) => (corpusShares[c] > 0 ? share / corpusShares[c] : 0));
  return {
    shortfall,
    of: ({ document, key, cluster }) =>
      cluster < 0
        ? { numCopies: 0, weight: 0 }
        : { numCopies: rounds[cluster] + (isChosen(edges, cluster, key, document) ? 1 : 0), weight: weights[cluster] },
  };
}
