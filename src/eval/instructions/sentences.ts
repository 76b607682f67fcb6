// The sentences of a text, by the rules of Punkt (Kiss and Strunk 2006, Computational Linguistics 32(4), as NLTK applies them): a period,
// question mark or exclamation mark before white space or a closing sign ends a sentence, unless it belongs to an abbreviation, an initial, a
// number before a small letter, or an ellipsis. Punkt learned its abbreviations, sentence starters and collocations from newspapers; here they are
// short lists of our own, so that a text with an unusual abbreviation may be one sentence off.

const CANDIDATE = /[.?!](?:(?=[)";}\]*:@'({[‘’“”«»?!])|(?=\s+(\S+)))/gu;
/** What follows the end of a sentence and still belongs to it. */
const CLOSING = /^["')\]}‘’“”«»]+(?:\s+|(?=--)|$)/u;

const ABBREVIATIONS = new Set(
  (
    'mr mrs ms dr prof rev gen col capt lt sgt maj gov sen rep hon pres st ste mt ft jr sr bros co corp inc ltd llc ' +
    'vs v al cf ca approx dept est fig figs vol vols no nos pp p op ed eds repr chap sec art ch ' +
    'jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri ' +
    'e.g i.e a.m p.m u.s u.k u.n d.c n.y l.a b.c a.d e.u ph.d m.d b.a m.a b.s m.s j.d u.s.a u.s.s.r ' +
    'ave blvd rd ln ala ariz calif conn fla ill ind kan mass mich minn mo neb nev okla ore pa tenn tex va wash wis'
  ).split(' '),
);

/** Words that begin sentences more often than they begin names. */
const STARTERS = new Set(
  (
    'the a an this that these those there here it its he she they we you i his her their our my your one some many most all each every ' +
    'no not if when while where what who why how which as at by for from in on of to with after before since until during under over between ' +
    'and but or nor so yet however although because though then thus also still even just now finally first second next in ' +
    'is are was were do does did can could will would should may might must have has had let please only such both few ' +
    'another other several according despite instead meanwhile moreover furthermore additionally overall'
  ).split(' '),
);

/** The sentences of a text, without what is between them. */
export function splitSentences(text: string): string[] {
  return sentenceSpans(text).map(([start, end]) => text.slice(start, end));
}

/** First and last place (exclusive) of each sentence, without white space around it. */
export function sentenceSpans(text: string): [number, number][] {
  const spans: [number, number][] = [];
  const take = (from: number, to: number) => {
    const sentence = text.slice(from, to);
    const start = from + sentence.length - sentence.trimStart().length;
    const end = from + sentence.trimEnd().length;
    if (end > start) spans.push([start, end]);
  };
  let start = 0;
  for (const match of text.matchAll(CANDIDATE)) {
    const end = match.index + 1;
    if (end <= start || !endsSentence(text, match.index, match[1])) continue;
    const gap = match[1] === undefined ? 0 : /^\s*/.exec(text.slice(end))![0].length;
    const closing = CLOSING.exec(text.slice(end + gap))?.[0] ?? '';
    take(start, end + gap + closing.length);
    start = end + gap + closing.length;
  }
  take(start, text.length);
  return spans;
}

/** @param at place of the sign; @param next the text up to the next white space, where white space follows the sign */
function endsSentence(text: string, at: number, next: string | undefined): boolean {
  if (text[at] !== '.') return true;
  const word = /[^\s("`{[:;&#*@)}\],‘’“”«»?!]*$/u.exec(text.slice(Math.max(0, at - MAX_WORD), at))![0];
  const follower = next === undefined ? '' : (/^[^\s)";}\]*:@'({[‘’“”«»?!,]+/u.exec(next)?.[0] ?? next[0]!);
  const bare = follower.replace(/\.$/, '');
  const startsUpper = /^\p{Lu}/u.test(follower);
  const startsLower = /^\p{Ll}/u.test(follower);
  const isStarter = startsUpper && STARTERS.has(bare.toLowerCase());
  if (word === '') return true;
  if (word.endsWith('.')) return isStarter;
  if (/^[;:,.!?]/.test(follower)) return false;
  if (/^\p{L}$/u.test(word)) return !startsLower && (!startsUpper || isStarter);
  if (/^-?[.,]?\d[\d,.-]*$/.test(word)) return !startsLower;
  const lower = word.toLowerCase();
  if (ABBREVIATIONS.has(lower) || ABBREVIATIONS.has(lower.split('-').at(-1)!)) return isStarter;
  return true;
}

/** Characters before a sign that may belong to its word. */
const MAX_WORD = 60;
