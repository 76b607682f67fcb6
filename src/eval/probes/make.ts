// Documents -> probes: facts found by rules, the most telling of them taken, each with three wrong answers of its kind from the same documents.
// Everything is decided by a seed and the documents' order-free statistics, so the same documents give the same probes.
import { hashFraction } from '../../base/hash.ts';
import { Rng } from '../../base/rng.ts';
import { FACT_KINDS, type Fact, type FactKind, findFacts } from './facts.ts';
import { askByRules, fold, givesAway, type Question } from './questions.ts';

export interface Probe extends Fact, Question {
  id: string;
  /** Four, `choices[gold]` the answer. */
  choices: string[];
  gold: number;
}

export interface ProbeSet {
  probes: Probe[];
  numDocuments: number;
  /** Found by rules, and those of them that passed every check. */
  numFacts: number;
  numUsable: number;
  /** Facts that were left out, by reason. */
  leftOut: Record<string, number>;
}

export interface MakeOptions {
  number: number;
  seed?: number;
  /** Asks the questions; by rules where it is absent. */
  ask?: (facts: readonly Fact[]) => Promise<Question[]>;
}

const NUM_WRONG = 3;
/** Statistics of terms count blocks of this many characters, so that one long file is not one document. */
const BLOCK_CHARS = 2000;
/** A name in more blocks than this is the likeliest guess for any gap. Assumption. */
const MAX_NAME_SHARE = 0.02;
const MIN_COMMON = 3;
/** Facts kept while reading; above it a half of them, chosen by their text, is let go. */
const MAX_FACTS = 40_000;

/** Reads documents one by one; what it keeps does not grow with their number beyond MAX_FACTS and the terms' counts. */
export class ProbeMaker {
  private facts: Fact[] = [];
  private numFacts = 0;
  private share = 1;
  private numDocuments = 0;
  private numBlocks = 0;
  private readonly blocksOf = new Map<string, number>();

  add(document: { id: string; source: string; text: string }): void {
    this.numDocuments++;
    this.count(document.text);
    const found = findFacts(document);
    this.numFacts += found.length;
    this.facts.push(...found.filter((fact) => hashFraction(fact.prompt) < this.share));
    while (this.facts.length > MAX_FACTS) {
      this.share /= 2;
      this.facts = this.facts.filter((fact) => hashFraction(fact.prompt) < this.share);
    }
  }

  private count(text: string): void {
    for (let at = 0; at < text.length; at += BLOCK_CHARS) {
      this.numBlocks++;
      for (const term of new Set(terms(text.slice(at, at + BLOCK_CHARS))))
        this.blocksOf.set(term, (this.blocksOf.get(term) ?? 0) + 1);
    }
  }

  async make({ number, seed = 0, ask }: MakeOptions): Promise<ProbeSet> {
    const leftOut: Record<string, number> = {};
    const note = (reason: string) => {
      leftOut[reason] = (leftOut[reason] ?? 0) + 1;
    };
    const distinct = withoutCopies(this.facts, note).filter((fact) => {
      const isGiven = givesAway(fact.prompt, fact.answer) || givesAway(fact.rest, fact.answer);
      const isCommon = fact.kind === 'name' && this.isEverywhere(fact.answer);
      if (isGiven) note('the answer stands in the sentence a second time');
      else if (isCommon) note('a name that is everywhere');
      return !isGiven && !isCommon;
    });
    const pools = poolsOf(distinct);
    const usable = distinct.filter((fact) => {
      const hasEnough = wrongAnswers(fact, pools, new Rng(seed, 'wrong', fact.prompt)) !== undefined;
      if (!hasEnough) note('too few other answers of its kind');
      return hasEnough;
    });
    const chosen = choose(usable, number, (fact) => this.salience(fact));
    const questions = ask ? await ask(chosen) : chosen.map(askByRules);
    const rng = new Rng(seed, 'places');
    const places = rng.shuffle(chosen.map((_, i) => i % (NUM_WRONG + 1)));
    const probes = chosen.map((fact, i): Probe => {
      const wrong = wrongAnswers(fact, pools, new Rng(seed, 'wrong', fact.prompt))!;
      const gold = places[i]!;
      return {
        id: `probe-${String(i + 1).padStart(4, '0')}`,
        ...fact,
        ...questions[i]!,
        choices: [...wrong.slice(0, gold), fact.answer, ...wrong.slice(gold)],
        gold,
      };
    });
    rng.shuffle(probes);
    return { probes, numDocuments: this.numDocuments, numFacts: this.numFacts, numUsable: usable.length, leftOut };
  }

  private isEverywhere(name: string): boolean {
    const most = Math.max(MIN_COMMON, MAX_NAME_SHARE * this.numBlocks);
    return terms(name).every((term) => (this.blocksOf.get(term) ?? 0) > most);
  }

  /**
   * How much the prompt says about which fact is meant: the mean of the inverse block frequency of its three rarest terms (Spärck Jones 1972).
   * A term that occurs once only counts for less: it may be a slip of the pen.
   */
  private salience({ prompt }: Fact): number {
    const weights = [...new Set(terms(prompt))]
      .map((term) => {
        const n = this.blocksOf.get(term) ?? 1;
        return Math.log(this.numBlocks / n) * (n === 1 ? 0.7 : 1);
      })
      .sort((a, b) => b - a);
    return (weights[0]! + (weights[1] ?? 0) + (weights[2] ?? 0)) / 3;
  }
}

const terms = (text: string): string[] => text.toLowerCase().match(/[\p{L}_][\p{L}\p{N}_]{2,}/gu) ?? [];

/** One of each prompt and of each sentence's sense; prompts that several answers follow ask for nothing in particular. */
function withoutCopies(facts: readonly Fact[], note: (reason: string) => void): Fact[] {
  const answersOf = new Map<string, Set<string>>();
  for (const fact of facts) {
    const prompt = fold(fact.prompt);
    const answers = answersOf.get(prompt);
    if (answers) answers.add(fold(fact.answer));
    else answersOf.set(prompt, new Set([fold(fact.answer)]));
  }
  const seen = new Set<string>();
  return facts.filter((fact) => {
    const prompt = fold(fact.prompt);
    if (answersOf.get(prompt)!.size > 1) note('the same words go on in several ways');
    else if (seen.has(prompt)) note('a copy');
    else {
      seen.add(prompt);
      return true;
    }
    return false;
  });
}

interface Candidate {
  text: string;
  folded: string;
  count: number;
}
type Pools = ReadonlyMap<string, readonly Candidate[]>;

/** Different answers by form, with how many facts have them. */
function poolsOf(facts: readonly Fact[]): Pools {
  const counts = new Map<string, Map<string, Candidate>>();
  for (const { form, answer } of facts) {
    const pool = counts.get(form) ?? new Map<string, Candidate>();
    counts.set(form, pool);
    const known = pool.get(fold(answer));
    if (known) known.count++;
    else pool.set(fold(answer), { text: answer, folded: fold(answer), count: 1 });
  }
  return new Map([...counts].map(([form, pool]) => [form, [...pool.values()]]));
}

/** Probes with one answer: more of them ask for the same again. */
const MAX_SAME_ANSWER = 3;
/** Of the nearest in length and frequency so many are drawn from. */
const NEAREST = 8;

/** Three of the fact's form; fewer than that: undefined. None that the sentence holds, nor a part or an extension of the answer. */
function wrongAnswers(fact: Fact, pools: Pools, rng: Rng): string[] | undefined {
  const answer = fold(fact.answer);
  const sentence = fold(`${fact.prompt} ${fact.rest}`);
  const pool = pools.get(fact.form)!;
  const own = pool.find(({ folded }) => folded === answer)!;
  const distance = ({ text, count }: Candidate) =>
    Math.abs(text.length - fact.answer.length) + Math.abs(Math.log2(count / own.count));
  const near = pool
    .filter(
      ({ folded }) => folded !== '' && !holds(answer, folded) && !holds(folded, answer) && !holds(sentence, folded),
    )
    .map((candidate) => ({ candidate, key: distance(candidate), tie: hashFraction(candidate.text) }))
    .sort((a, b) => a.key - b.key || a.tie - b.tie)
    .slice(0, NEAREST)
    .map(({ candidate }) => candidate.text);
  if (near.length < NUM_WRONG) return undefined;
  return rng.shuffle(near).slice(0, NUM_WRONG);
}

/** Folded texts: whole words of one inside the other. */
const holds = (text: string, part: string): boolean => ` ${text} `.includes(` ${part} `);

/**
 * The most telling ones, kinds and documents in turn: a kind gives no more than the others while they have some, and a document its second
 * fact only when all have given their first.
 */
function choose(facts: readonly Fact[], number: number, salience: (fact: Fact) => number): Fact[] {
  const queues = new Map<FactKind, Fact[]>(FACT_KINDS.map((kind) => [kind, []]));
  const ranked = facts
    .map((fact) => ({ fact, score: salience(fact), tie: hashFraction(fact.prompt) }))
    .sort((a, b) => b.score - a.score || a.tie - b.tie);
  const rankInDocument = new Map<string, number>();
  const usesOf = new Map<string, number>();
  const fresh = ranked.filter(({ fact }) => {
    const uses = usesOf.get(fold(fact.answer)) ?? 0;
    usesOf.set(fold(fact.answer), uses + 1);
    return uses < MAX_SAME_ANSWER;
  });
  const turns = fresh.map(({ fact }, place) => {
    const rank = rankInDocument.get(fact.document) ?? 0;
    rankInDocument.set(fact.document, rank + 1);
    return { fact, rank, place };
  });
  turns.sort((a, b) => a.rank - b.rank || a.place - b.place);
  for (const { fact } of turns) queues.get(fact.kind)!.push(fact);
  const chosen: Fact[] = [];
  for (let turn = 0; chosen.length < number; turn++) {
    const round = [...queues.values()].flatMap((queue) => queue[turn] ?? []);
    if (round.length === 0) break;
    chosen.push(...round.slice(0, number - chosen.length));
  }
  return chosen;
}
