// Which natural language a text is in, cheaply: by its script where that decides, by its most frequent small words otherwise. For the
// statistics of a corpus, not for filtering: where the sign is not clear, as in code, tables and short texts, it says "unknown".

/** ISO 639-1. */
export type Language = (typeof LANGUAGES)[number] | 'unknown';

const LANGUAGES = [
  ...(['en', 'de', 'fr', 'es', 'it', 'pt', 'nl', 'sv', 'da', 'pl', 'cs', 'tr', 'fi', 'id', 'ro'] as const),
  ...(['ru', 'uk', 'bg', 'el', 'he', 'ar', 'fa', 'hi', 'th', 'ko', 'ja', 'zh'] as const),
] as const;

/** Function words, nearly all of them among the most frequent of their language. Those that two languages share count for both. */
const SMALL_WORDS: Partial<Record<Language, string>> = {
  en: 'the of and to in is that it for was on as with be by this are which from or an have not at you his her they we',
  de: 'der die und das in den von zu mit sich ist auf für nicht ein eine im dem des auch es an werden aus er hat dass sie',
  fr: 'de la le et les des en un une du dans est que pour qui au par plus ne pas sur ce il sont avec se ou cette',
  es: 'de la que el en y los del se las por un para con no una su al es lo como más pero sus le o este fue',
  it: 'di e il la che in un a per del è una sono con non si della le da i al nel dei alla più gli ha anche',
  pt: 'de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu',
  nl: 'de het een van en in is dat op te zijn met voor niet aan er om ook als dan maar door werd bij naar wordt',
  sv: 'och i att det som en på är av för med den till inte om ett han men var jag från vi så kan har de',
  da: 'og i at det er en til på af for med den som der ikke de et har var han men fra vi jeg kan blev også',
  pl: 'w i na z do się nie że jest to o jak po od za przez dla oraz ale są który jego tym był być co',
  cs: 'a v se na je že to s z do o i jako ve pro by ale po jsou si od za který byl tak k nebo této',
  tr: 've bir bu için ile de da olarak daha çok olan en gibi kadar sonra var ne o ise ama değil her',
  fi: 'ja on ei se että oli hän mutta myös kun niin joka ovat tai sen ole jos kuin mitä vain nyt sekä',
  id: 'yang dan di dari untuk dengan ini itu pada dalam tidak adalah oleh akan ke atau sebagai juga ada telah bisa',
  ro: 'de și în la a cu pe care din nu este un o mai că pentru se sau ce prin fost sunt au dar lui',
  ru: 'и в не на что с по как это он к но из у от за для его она был же так бы или то все',
  uk: 'і в не на що з у та як це він до але за від для його вона був бути або є які про',
  bg: 'на и в да се за от е с не по са като това си но че до при той към или един която',
  ar: 'في من على إلى أن عن مع هذا كان التي ما لا هو أو كما بعد هذه الذي قد بين',
  fa: 'و در به از که این را با است برای آن یک می تا بر شد بود های هم خود',
};

/** The most frequent small words of a language, or undefined where they are not known. */
export function smallWords(language: string): readonly string[] | undefined {
  return Object.hasOwn(SMALL_WORDS, language) ? SMALL_WORDS[language as Language]!.split(' ') : undefined;
}

/** Word -> the languages that have it among theirs, as indices of LANGUAGES. */
const LANGUAGES_OF_WORD = new Map<string, number[]>();
for (const [language, words] of Object.entries(SMALL_WORDS))
  for (const word of words.split(' ')) {
    const known = LANGUAGES_OF_WORD.get(word);
    const index = LANGUAGES.indexOf(language as (typeof LANGUAGES)[number]);
    if (known) known.push(index);
    else LANGUAGES_OF_WORD.set(word, [index]);
  }

/** Texts of a batch that are looked at. */
const MAX_SAMPLED = 64;
/** Characters that are looked at: a third of a page is enough. */
const MAX_CHARS = 1000;
/** Fewer letters than these, or words in a script with spaces, say nothing. */
const MIN_LETTERS = 40;
const MIN_WORDS = 12;
/** Small words are a fourth to a half of running text in these languages; the second-best has at most two thirds of the best's. Assumptions. */
const MIN_SHARE = 0.15;
const MARGIN = 1.5;

const SCRIPTS = ['latin', 'cyrillic', 'arabic', 'kana', 'han', 'ko', 'el', 'he', 'hi', 'th'] as const;

/** Index into SCRIPTS by Unicode's blocks, without rare extensions; -1 for digits, signs, spaces and other scripts. */
function scriptOf(code: number): number {
  if (code < 0x41) return -1;
  if (code < 0x80) return (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a ? 0 : -1;
  if (code < 0x370) return code >= 0xc0 && code !== 0xd7 && code !== 0xf7 && code < 0x2b0 ? 0 : -1;
  if (code < 0x400) return 6;
  if (code < 0x530) return 1;
  if (code < 0x590) return -1;
  if (code < 0x600) return 7;
  if (code < 0x780) return 2;
  if (code < 0x900) return -1;
  if (code < 0x980) return 8;
  if (code >= 0xe00 && code < 0xe80) return 9;
  if (code >= 0x1100 && code < 0x1200) return 5;
  if (code >= 0x1e00 && code < 0x1f00) return 0;
  if (code >= 0x1f00 && code < 0x2000) return 6;
  if (code >= 0x3040 && code < 0x3100) return 3;
  if (code >= 0x3400 && code < 0xa000) return 4;
  if (code >= 0xac00 && code < 0xd7b0) return 5;
  return -1;
}

/** The language of the beginning of a text. */
export function guessLanguage(text: string): Language {
  const start = text.slice(0, MAX_CHARS);
  const letters = new Uint32Array(SCRIPTS.length);
  let total = 0;
  for (let i = 0; i < start.length; i++) {
    const script = scriptOf(start.charCodeAt(i));
    if (script < 0) continue;
    letters[script]!++;
    total++;
  }
  if (total < MIN_LETTERS) return 'unknown';
  const kana = letters[SCRIPTS.indexOf('kana')]!;
  const east = kana + letters[SCRIPTS.indexOf('han')]!;
  // Japanese mixes kana and Chinese characters; Chinese has no kana.
  if (east > total / 2) return kana > east / 20 ? 'ja' : 'zh';
  const most = letters.indexOf(Math.max(...letters));
  const script = SCRIPTS[most]!;
  if (letters[most]! <= total / 2 || script === 'kana' || script === 'han') return 'unknown';
  return script === 'latin' || script === 'cyrillic' || script === 'arabic' ? bySmallWords(start) : script;
}

function bySmallWords(text: string): Language {
  const words = text.toLowerCase().match(/[\p{L}\p{M}]+/gu) ?? [];
  if (words.length < MIN_WORDS) return 'unknown';
  const hits = new Uint32Array(LANGUAGES.length);
  for (const word of words) for (const index of LANGUAGES_OF_WORD.get(word) ?? []) hits[index]!++;
  const ordered = hits.toSorted();
  const [second, best] = [ordered.at(-2)!, ordered.at(-1)!];
  if (best < MIN_SHARE * words.length || best < MARGIN * second) return 'unknown';
  return LANGUAGES[hits.indexOf(best)]!;
}

/**
 * Bytes by language, from at most MAX_SAMPLED of the texts, evenly chosen: looking at all would cost as much as tokenising short ones.
 * @param numBytes of each text
 */
export function countLanguages(texts: readonly string[], numBytes: ArrayLike<number>): Map<Language, number> {
  const stride = Math.ceil(texts.length / MAX_SAMPLED);
  const bytes = new Map<Language, number>();
  let sampled = 0;
  let total = 0;
  for (let i = 0; i < texts.length; i++) {
    total += numBytes[i]!;
    if (i % stride !== 0) continue;
    const language = guessLanguage(texts[i]!);
    bytes.set(language, (bytes.get(language) ?? 0) + numBytes[i]!);
    sampled += numBytes[i]!;
  }
  for (const [language, n] of bytes) bytes.set(language, Math.round((n / sampled) * total));
  return bytes;
}

/** Runs of characters between spaces, as `wc -w` counts them; of little meaning in scripts without spaces. */
export function countWords(text: string): number {
  let numWords = 0;
  let isInside = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    const isSpace = code <= 32 || (code >= 0xa0 && (code === 0xa0 || code === 0x3000 || code === 0x2028));
    if (!isSpace && !isInside) numWords++;
    isInside = !isSpace;
  }
  return numWords;
}
