// AfroBench, AfriXNLI: labels, parts of speech, named entities, answers and summaries in African languages. Tasks whose prompts are sentences
// inside of the Python (AfriMMLU, MAFAND) have no twin.
import { WHITE as SPACE, strip } from '../python/text.ts';
import { count, overlap, WORD } from './python.ts';
import { type Pair, rougeL, squadForm, tokenF1, weightedF1 } from './scores.ts';
import type { Doc, MetricArguments, Twins } from './types.ts';

export const weightedF1Only: Twins = { 'utils.weighted_f1_score': weightedF1 };

const nli = (...labels: string[]): Twins => ({
  ...weightedF1Only,
  'utils.doc_to_target': (doc: Doc) => labels[doc.label],
});

export const afriXnliRelations = nli('entailment', 'neutral', 'contradiction');
export const afriXnliTruth = nli('True', 'Neither', 'False');
export const afriXnliConclusion = nli('true', 'false', 'inconclusive');

const PARTS_OF_SPEECH = 'NOUN PUNCT ADP NUM SYM SCONJ ADJ PART DET CCONJ PROPN PRON X _ ADV INTJ VERB AUX'.split(' ');

export const masakhaPos: Twins = {
  'utils.doc_to_target': (doc: Doc) => doc.upos.map((tag: number) => PARTS_OF_SPEECH[tag]),
  /** Mean over documents of the share of right tags, as far as both lists go; an empty one makes the whole no number. */
  'utils.acc_score': (items: readonly (readonly [readonly string[], readonly (readonly string[])[]])[]) => {
    const scores = items.map(([gold, predicted]) => {
      const tags = predicted.flat();
      const n = Math.min(gold.length, tags.length);
      return gold.slice(0, n).filter((tag, i) => tag === tags[i]).length / n;
    });
    return scores.reduce((sum, score) => sum + score, 0) / scores.length;
  },
};

const ENTITY_NOISE = /[!"$%&'()*+,\-./:;<=>?[\\\]^_`{|}~•@]+/g;

function entityForm(text: string): string {
  return text
    .replace(ENTITY_NOISE, ' ')
    .replace(new RegExp(`(?<![${WORD}])(?:a|an|the)(?![${WORD}])`, 'gu'), ' ')
    .replace(new RegExp(`[${SPACE}]{3,}|\\t`, 'g'), '')
    .replace(new RegExp(`[${SPACE}]+`, 'g'), ' ')
    .toLowerCase();
}

/** "PER: Ada $$ LOC: Lagos" -> one "tag, entity" each. */
function entities(said: string | readonly string[]): string[] {
  const text = typeof said === 'string' ? said : said.map((part) => strip(part)).join(' ');
  return strip(text)
    .split('$$')
    .flatMap((part) => part.split('$').filter(Boolean))
    .flatMap((part) => strip(part).split('. '))
    .flatMap((part) => part.split(', '))
    .map((part) => strip(part).split(': '))
    .filter((parts) => parts.length === 2)
    .map(([tag, entity]) => `${entityForm(strip(tag!))}\u0000${entityForm(strip(entity!))}`);
}

const TINY = 1e-13;

export const masakhaNer: Twins = {
  /** F1 over the spans of all documents (the CoNLL measure). */
  'utils.span_f1_agg': (items: readonly (readonly [string, string])[]) => {
    let [hits, numGold, numPredicted] = [0, 0, 0];
    for (const [target, response] of items) {
      const [gold, predicted] = [entities(target), entities(response)];
      hits += overlap(count(gold), count(predicted));
      numGold += gold.length;
      numPredicted += predicted.length;
    }
    const precision = hits / (numPredicted + TINY);
    const recall = hits / (numGold + TINY);
    return 2 * ((precision * recall) / (precision + recall + TINY));
  },
};

const tokens = (text: string) => squadForm(text).split(' ').filter(Boolean);

export const afriQa: Twins = {
  'utils.f1': (items: readonly (readonly [string, string])[]) =>
    items.reduce((sum, [gold, predicted]) => sum + tokenF1(tokens(predicted), tokens(gold)), 0) / items.length,
};

/** The mean; there it is the middle of a thousand means of documents drawn by lot, which differs from run to run. */
export const rougeLMean: Twins = {
  'utils.rougeL': ({ references, predictions }: MetricArguments): Pair => [references[0], predictions[0]],
  'utils.rougeL_agg': (items: readonly (readonly [string, string])[]) =>
    items.reduce((sum, [gold, predicted]) => sum + rougeL(gold, predicted), 0) / items.length,
};
