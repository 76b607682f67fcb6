// Added tokens: spellings that are cut out of the text before byte-pair encoding, and the ones with a role (BOS, EOS, separators).
// Semantics of Hugging Face tokenizers: leftmost, then longest; those marked `normalized` are looked for after normalisation.
import { ConfigError } from '../base/errors.ts';
import { PASSED_OVER } from '../kernels/index.ts';
import type { AddedToken, Sections } from './format.ts';
import type { Normalizer } from './normalizer.ts';

/** Called for each stretch in order: of plain text, or with the id of an added token. */
export interface Stretches {
  text(stretch: string, isStart: boolean): void;
  token(id: number): void;
}

/** Finds one set of added tokens. */
export class AddedTokenFinder {
  private readonly pattern: RegExp | undefined;
  private readonly bySpelling = new Map<string, AddedToken>();
  private readonly allSpecial: boolean;

  constructor(tokens: readonly AddedToken[], normalizer?: Normalizer) {
    for (const token of tokens) {
      const spelling = normalizer ? normalizer(token.content) : token.content;
      if (spelling !== '') this.bySpelling.set(spelling, token);
    }
    this.allSpecial = tokens.every((token) => token.special);
    const spellings = [...this.bySpelling.keys()].sort((a, b) => b.length - a.length);
    if (spellings.length === 0) return;
    this.pattern = new RegExp(spellings.map((s) => s.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'), 'gu');
  }

  /** Whether there is anything to look for. */
  finds(withSpecial: boolean): boolean {
    return this.pattern !== undefined && (withSpecial || !this.allSpecial);
  }

  /**
   * What is looked for in plain text, with ids for the native encoder; undefined where a token also asks for what stands around it.
   * A special token's spelling is passed over as a whole, so that no other token is found inside it.
   */
  inPlainText(): [spelling: string, id: number][] | undefined {
    if (!this.finds(false)) return [];
    const tokens = [...this.bySpelling];
    if (tokens.some(([, token]) => !token.special && (token.single_word || token.lstrip || token.rstrip)))
      return undefined;
    return tokens.map(([spelling, token]) => [spelling, token.special ? PASSED_OVER : token.id]);
  }

  /** @param withSpecial when false, a special token's spelling is left in the text */
  split(text: string, isStart: boolean, withSpecial: boolean, stretches: Stretches): void {
    let done = 0;
    if (this.pattern && this.finds(withSpecial))
      for (const match of text.matchAll(this.pattern)) {
        const token = this.bySpelling.get(match[0])!;
        if (token.special && !withSpecial) continue;
        let start = match.index;
        let end = start + match[0].length;
        if (token.single_word && !standsAlone(text, start, end)) continue;
        if (token.lstrip) while (start > done && /\s|\u0085/.test(text[start - 1])) start--;
        if (token.rstrip) while (end < text.length && /\s|\u0085/.test(text[end])) end++;
        if (start > done) stretches.text(text.slice(done, start), isStart && done === 0);
        stretches.token(token.id);
        done = end;
      }
    if (done < text.length) stretches.text(done === 0 ? text : text.slice(done), isStart && done === 0);
  }
}

const WORD = '[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]';
const ENDS_IN_WORD = new RegExp(`${WORD}$`, 'u');
const STARTS_WITH_WORD = new RegExp(`^${WORD}`, 'u');

function standsAlone(text: string, start: number, end: number): boolean {
  return (
    !ENDS_IN_WORD.test(text.slice(Math.max(0, start - 2), start)) && !STARTS_WITH_WORD.test(text.slice(end, end + 2))
  );
}

/** Separators of documents in pretraining, in the order of preference. */
const DOCUMENT_ENDS = [
  '<|endoftext|>',
  '<|end_of_text|>',
  '</s>',
  '<eos>',
  '[EOS]',
  '<|end▁of▁sentence|>',
  '<｜end▁of▁sentence｜>',
];

export interface Roles {
  bosToken: string | undefined;
  eosToken: string | undefined;
  documentStart: number;
  documentEnd: number;
  frame: { before: readonly number[]; after: readonly number[] };
}

/** A token named in tokenizer_config.json: a string, or an object with "content". */
export function configToken(config: Record<string, unknown>, key: string): string | undefined {
  const value = config[key];
  if (typeof value === 'string') return value;
  const content = (value as { content?: unknown } | null | undefined)?.content;
  return typeof content === 'string' ? content : undefined;
}

/** Throws ConfigError where no token can end a document. */
export function findRoles(
  sections: Sections,
  config: Record<string, unknown>,
  tokenToId: (token: string) => number | undefined,
  where: string,
): Roles {
  const bosToken = configToken(config, 'bos_token');
  const eosToken = configToken(config, 'eos_token');
  const named = ['bos_token', 'eos_token', 'pad_token', 'unk_token'].map((key) => configToken(config, key));
  const isRole = new Set([...sections.addedTokens.map((token) => token.content), ...named]);
  // "</s>" can also be an ordinary piece of HTML in a vocabulary; only a token with a role separates documents.
  const separator = DOCUMENT_ENDS.find((t) => (isRole.size === 1 || isRole.has(t)) && tokenToId(t) !== undefined);
  const documentEnd = tokenToId(separator ?? eosToken ?? '');
  if (documentEnd === undefined)
    throw new ConfigError(
      `${where}: no token can end a document: none of ${DOCUMENT_ENDS.slice(0, 5).join(', ')} is in the vocabulary, and ` +
        `${eosToken === undefined ? 'no eos_token is named' : `the eos_token ${JSON.stringify(eosToken)} is not either`}. ` +
        'Name one as "eos_token" in tokenizer_config.json.',
    );
  const around = addedAround(sections, config, bosToken, eosToken);
  const ids = (tokens: string[]) => tokens.flatMap((token) => tokenToId(token) ?? []);
  const frame = { before: ids(around.before), after: ids(around.after) };
  return { bosToken, eosToken, documentEnd, documentStart: frame.before[0] ?? documentEnd, frame };
}

/**
 * The tokens that the tokenizer itself puts around a text: by the switches of its configuration where it has one of them, else by its
 * post-processor (as transformers 5 decides it).
 */
function addedAround(
  sections: Sections,
  config: Record<string, unknown>,
  bosToken: string | undefined,
  eosToken: string | undefined,
): { before: string[]; after: string[] } {
  const named = (isOn: unknown, token: string | undefined) => (isOn === true && token !== undefined ? [token] : []);
  if (typeof config.add_bos_token === 'boolean' || typeof config.add_eos_token === 'boolean')
    return { before: named(config.add_bos_token, bosToken), after: named(config.add_eos_token, eosToken) };
  const processors = sections.postProcessor
    ? [sections.postProcessor, ...((sections.postProcessor.processors as Record<string, unknown>[] | undefined) ?? [])]
    : [];
  for (const processor of processors) {
    if (processor.type === 'TemplateProcessing') {
      const template = (processor.single ?? []) as { SpecialToken?: { id: string }; Sequence?: unknown }[];
      const text = template.findIndex((part) => part.Sequence !== undefined);
      const special = (parts: typeof template) => parts.flatMap((part) => part.SpecialToken?.id ?? []);
      return { before: special(template.slice(0, text)), after: special(template.slice(text + 1)) };
    }
    if (processor.type === 'RobertaProcessing' || processor.type === 'BertProcessing') {
      const token = (key: string) => (processor[key] as [string, number] | undefined)?.[0] ?? [];
      return { before: [token('cls')].flat(), after: [token('sep')].flat() };
    }
  }
  return { before: [], after: [] };
}
