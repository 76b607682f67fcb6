// A byte-level tokenizer written by hand (256 bytes and <|endoftext|> = 256, no merges), and a folder that is removed afterwards.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Rng } from '../../src/base/rng.ts';

export const END = 256;

/** GPT-2's spelling of the bytes: printable ones as they are, the others from U+0100 on. */
function byteSpellings(): string[] {
  let next = 0x100;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    return String.fromCharCode(printable ? byte : next++);
  });
}

export function writeByteTokenizer(folder: string): string {
  fs.mkdirSync(folder, { recursive: true });
  const endOfText = {
    id: END,
    content: '<|endoftext|>',
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  };
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [endOfText],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      vocab: Object.fromEntries(byteSpellings().map((spelling, byte) => [spelling, byte])),
      merges: [],
    },
  };
  fs.writeFileSync(path.join(folder, 'tokenizer.json'), JSON.stringify(tokenizer));
  const config = { tokenizer_class: 'GPT2Tokenizer', eos_token: '<|endoftext|>' };
  fs.writeFileSync(path.join(folder, 'tokenizer_config.json'), JSON.stringify(config));
  return folder;
}

export function makeFolder(name: string): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), `continuo-${name}-`));
}

/** Text of `numWords` words, other words for another seed. */
export function words(seed: number, numWords: number): string {
  const rng = new Rng(seed, 'words');
  let text = '';
  for (let i = 0; i < numWords; i++) text += `${rng.uint32().toString(36)}${i % 12 === 11 ? '.\n\n' : ' '}`;
  return text;
}

export function writeJsonl(file: string, texts: readonly string[]): string {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, texts.map((text) => `${JSON.stringify({ text })}\n`).join(''));
  return file;
}
