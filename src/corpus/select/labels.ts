// What a cluster is about, in words: those that its documents have more often than the rest of the corpus, by log-odds with an informative
// Dirichlet prior (Monroe, Colaresi and Quinn 2008, "Fightin' Words"), so that words of chance come out small, times the inverse document
// frequency, as in class-based TF-IDF (Grootendorst 2022, arXiv 2203.05794), since function words differ between kinds of text beyond all
// chance and yet name none. A word counts once a document, so that one long document does not name its cluster.

/** Different words that are known; later ones are not counted. */
const MAX_VOCABULARY = 400_000;
/** The prior's weight, in documents (assumption). */
const PRIOR_DOCUMENTS = 10;
const WORD = /[\p{L}\p{M}\p{N}]+(?:['’-][\p{L}\p{M}]+)*/gu;
const UNSPACED =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Khmer}\p{Script=Lao}\p{Script=Myanmar}]/u;
const MAX_WORD_LENGTH = 24;

/** Words of a sample of documents, as numbers. */
export class LabelWords {
  private readonly ids = new Map<string, number>();
  private readonly words: string[] = [];
  /** Different words of each document. */
  private readonly documents: Uint32Array[] = [];
  private segmenter: Intl.Segmenter | undefined;

  get numDocuments(): number {
    return this.documents.length;
  }

  /** The beginning of a text, as long as fits. */
  add(text: string): void {
    const found = new Set<number>();
    for (const word of this.split(text)) {
      const id = this.idOf(word);
      if (id !== undefined) found.add(id);
    }
    this.documents.push(Uint32Array.from(found));
  }

  private *split(text: string): Generator<string> {
    for (const [run] of text.toLowerCase().matchAll(WORD)) {
      if (UNSPACED.test(run)) {
        this.segmenter ??= new Intl.Segmenter(undefined, { granularity: 'word' });
        for (const { segment } of this.segmenter.segment(run.slice(0, 1000))) yield segment;
      } else if (run.length > 1 && run.length <= MAX_WORD_LENGTH && /\p{L}/u.test(run)) yield run;
    }
  }

  private idOf(word: string): number | undefined {
    const known = this.ids.get(word);
    if (known !== undefined || this.words.length === MAX_VOCABULARY) return known;
    // A slice of the text would keep all of it in memory.
    const own = Buffer.from(word).toString();
    this.ids.set(own, this.words.length);
    this.words.push(own);
    return this.words.length - 1;
  }

  /**
   * @param groups by document that was added; negative: of no group
   * @returns by group, its `numWords` most distinctive words, best first; fewer where no more speak for it
   */
  distinctive(groups: ArrayLike<number>, numGroups: number, numWords: number): string[][] {
    const totals = new Float64Array(this.words.length);
    const members: number[][] = Array.from({ length: numGroups }, () => []);
    let numAll = 0;
    this.documents.forEach((words, document) => {
      if (groups[document] < 0) return;
      members[groups[document]].push(document);
      numAll++;
      for (const word of words) totals[word]++;
    });
    const counts = new Float64Array(this.words.length);
    return members.map((documents) => {
      const touched: number[] = [];
      for (const document of documents)
        for (const word of this.documents[document]) if (counts[word]++ === 0) touched.push(word);
      const numOthers = numAll - documents.length;
      const least = Math.min(2, documents.length);
      const scored = touched
        .filter((word) => counts[word] >= least)
        .map((word) => ({
          word,
          weight:
            logOdds(counts[word], documents.length, totals[word] - counts[word], numOthers) *
            Math.log(numAll / totals[word]),
        }))
        .filter(({ weight }) => weight > 0)
        .sort((a, b) => b.weight - a.weight || (this.words[a.word] < this.words[b.word] ? -1 : 1))
        .slice(0, numWords);
      for (const word of touched) counts[word] = 0;
      return scored.map(({ word }) => this.words[word]);
    });
  }
}

/** The difference of log-odds over its standard deviation: of `numWith` of `numInside` documents against `numOthersWith` of `numOutside`. */
function logOdds(numWith: number, numInside: number, numOthersWith: number, numOutside: number): number {
  const prior = (PRIOR_DOCUMENTS * (numWith + numOthersWith)) / (numInside + numOutside);
  const odds = (count: number, all: number) =>
    Math.log((count + prior) / (all + PRIOR_DOCUMENTS - count - prior + 0.5));
  const variance = 1 / (numWith + prior) + 1 / (numOthersWith + prior);
  return (odds(numWith, numInside) - odds(numOthersWith, numOutside)) / Math.sqrt(variance);
}
