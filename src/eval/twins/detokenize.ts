// WikiText and C4 as running text again, and what their perplexities are counted by.
import { WHITE as SPACE } from '../python/text.ts';
import type { Doc, Twins } from './types.ts';

const S = `[${SPACE}]`;
const pair = (open: string, close: string, inside: string) => new RegExp(`${open}${S}*(${inside}*?)${S}*${close}`, 'g');

const STEPS: readonly [string | RegExp, string][] = [
  ["s '", "s'"],
  // The expression says slashes where it meant none, and so changes nothing in any text; kept, since scores are compared.
  [/\/' [0-9]\//g, "/'[0-9]/"],
  [' @-@ ', '-'],
  [' @,@ ', ','],
  [' @.@ ', '.'],
  [' : ', ': '],
  [' ; ', '; '],
  [' . ', '. '],
  [' ! ', '! '],
  [' ? ', '? '],
  [' , ', ', '],
  [pair('\\(', '\\)', '[^)]'), '($1)'],
  [pair('\\[', '\\]', '[^\\]]'), '[$1]'],
  [pair('\\{', '\\}', '[^}]'), '{$1}'],
  [pair('"', '"', '[^"]'), '"$1"'],
  [pair("'", "'", "[^']"), "'$1'"],
  ['= = = =', '===='],
  ['= = =', '==='],
  ['= =', '=='],
  [' \u00b0 ', '\u00b0'],
  [' \n', '\n'],
  ['\n ', '\n'],
  [' N ', ' 1 '],
  [" 's", "'s"],
];

export function detokenize(text: string): string {
  return STEPS.reduce(
    (done, [from, to]) => (typeof from === 'string' ? done.replaceAll(from, () => to) : done.replace(from, to)),
    text,
  );
}

/** Words and bytes are counted before detokenisation, so that perplexities compare with those of the tokenised text. */
const detokenized = (module: string, name: string, field: string): Twins => ({
  [`${module}.${name}`]: (doc: Doc) => detokenize(doc[field]),
  [`${module}.process_results`]: (doc: Doc, [logLikelihood]: readonly number[]) => {
    const numWords = doc[field].split(new RegExp(`${S}+`)).length;
    const numBytes = Buffer.byteLength(doc[field], 'utf8');
    return {
      word_perplexity: [logLikelihood, numWords],
      byte_perplexity: [logLikelihood, numBytes],
      bits_per_byte: [logLikelihood, numBytes],
    };
  },
});

export const wikitext = detokenized('preprocess_wikitext', 'wikitext_detokenizer', 'page');
export const frenchWikitext = detokenized('preprocess_wikitext', 'wikitext_detokenizer', 'paragraph');
export const c4 = detokenized('preprocess_c4', 'c4_detokenizer', 'text');
export const paloma: Twins = { 'paloma_utils.doc_to_target': (doc: Doc) => String(doc.text) };
