// Text as tokens come equals the text of all tokens, wherever a prompt ends and characters are cut.
import * as path from 'node:path';
import { describe, expect, it } from 'vitest';
import { Rng } from '../../src/base/rng.ts';
import { loadTokenizer, TextStream, type Tokenizer, tokenizerFromJson } from '../../src/tokenizer/index.ts';
import { configFor, readFixture, texts } from './fixtures.ts';

const bytes = loadTokenizer(path.join(import.meta.dirname, '../fixtures/byte-tokenizer'));

function stream(tokenizer: Tokenizer, ids: number[], numPrompt: number): string[] {
  const pieces = new TextStream(tokenizer, ids.slice(0, numPrompt));
  return [...ids.slice(numPrompt).map((id) => pieces.push(id)), pieces.end()];
}

describe.each(['gpt2', 'llama2', 'llama3', 'mistral', 'qwen2', 'smollm', 'wordpiece'])('%s', (name) => {
  const fixture = readFixture(name);
  const tokenizer = tokenizerFromJson(fixture.tokenizer, configFor(fixture));

  it('gives the same text in pieces, behind a prompt of any length', () => {
    const rng = new Rng(1);
    for (const text of texts) {
      const ids = tokenizer.encode(text);
      const numPrompt = rng.below(ids.length + 1);
      const [prompt, all] = [ids.slice(0, numPrompt), ids].map((part) => tokenizer.decode(part, { skipSpecial: true }));
      // A prompt that ends inside a character shows it as U+FFFD; what follows completes it.
      const shown = prompt!.replace(/\ufffd+$/, '');
      if (!all!.startsWith(shown)) continue;
      expect(shown + stream(tokenizer, ids, numPrompt).join('')).toBe(all);
    }
  });
});

describe('characters of several bytes', () => {
  it('come whole', () => {
    const ids = bytes.encode('aé€😀b');
    expect(stream(bytes, ids, 0)).toEqual(['a', '', 'é', '', '', '€', '', '', '', '😀', 'b', '']);
  });

  it('are U+FFFD where the bytes are wrong, as soon as that is certain', () => {
    const [cut, a] = [bytes.encode('€')[0]!, bytes.encode('a')[0]!];
    expect(stream(bytes, [cut, a], 0)).toEqual(['', '\ufffda', '']);
  });

  it('are U+FFFD where the text ends inside one', () => {
    expect(stream(bytes, bytes.encode('x😀').slice(0, 3), 0)).toEqual(['x', '', '', '\ufffd']);
  });

  it('may begin in the prompt', () => {
    expect(stream(bytes, bytes.encode('a😀b'), 2)).toEqual(['', '', '😀', 'b', '']);
  });
});
