// Repeated spans beside what brute force finds: every window of N tokens that occurs before is cut, and nothing else.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../../src/base/rng.ts';
import { findDuplicates } from '../../../src/corpus/dedup/duplicates.ts';
import { SignatureWriter } from '../../../src/corpus/dedup/signatures.ts';
import {
  FingerprintWriter,
  findFingerprints,
  findRepeatedSpans,
  SpanCutter,
  WindowWriter,
} from '../../../src/corpus/dedup/substrings.ts';
import { TokenList } from '../../../src/corpus/dedup/tokens.ts';

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-spans-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

let numFiles = 0;

async function cutSpans(
  parts: readonly (readonly string[])[],
  minTokens: number,
  { memoryBytes = 1 << 20, exact = false }: { memoryBytes?: number; exact?: boolean } = {},
) {
  const options = { minTokens };
  const files = parts.map(() => {
    const file = path.join(folder, `${++numFiles}`);
    return {
      ...{ signatures: `${file}.s`, duplicates: `${file}.d`, fingerprints: `${file}.f` },
      ...{ candidates: `${file}.c`, windows: `${file}.w`, spans: `${file}.sp` },
    };
  });
  for (const [i, texts] of parts.entries()) {
    const fingerprints = new FingerprintWriter(files[i]!.fingerprints, options);
    const signatures = new SignatureWriter(files[i]!.signatures);
    for (const text of texts) {
      fingerprints.add(text);
      signatures.add(text);
    }
    fingerprints.finish();
    signatures.finish();
  }
  if (exact) await findDuplicates({ parts: files, folder, minHash: false });
  const given = files.map(({ duplicates, ...rest }) => ({ ...rest, ...(exact && { duplicates }) }));
  await findFingerprints({ parts: given, options, folder, memoryBytes });
  for (const [i, texts] of parts.entries()) {
    const windows = new WindowWriter(files[i]!.windows, files[i]!.candidates, options);
    for (const [index, text] of texts.entries()) windows.add(index, text);
    windows.finish();
  }
  const summary = await findRepeatedSpans({ parts: files, options, folder, memoryBytes });
  const texts = parts.map((part, i) => {
    const cutter = new SpanCutter(files[i]!.spans, options);
    const cleaned = part.map((text, index) => cutter.edit(index, text)?.text ?? text);
    cutter.finish();
    return cleaned;
  });
  return { texts, summary, files };
}

function tokensOf(text: string): string[] {
  const list = new TokenList();
  list.read(text);
  return Array.from({ length: list.length }, (_, i) => text.slice(list.starts[i], list.ends[i]));
}

/** Which tokens of each text are in no window that occurs before. */
function keptByForce(texts: readonly string[], minTokens: number): string[][] {
  const seen = new Set<string>();
  return texts.map((text) => {
    const tokens = tokensOf(text);
    const isCut = tokens.map(() => false);
    for (let i = 0; i + minTokens <= tokens.length; i++) {
      const window = tokens.slice(i, i + minTokens).join(' ');
      if (seen.has(window)) isCut.fill(true, i, i + minTokens);
      seen.add(window);
    }
    return tokens.filter((_, i) => !isCut[i]);
  });
}

describe('tokens', () => {
  it('are words, or characters where scripts put no spaces; marks stay on what they stand on', () => {
    expect(tokensOf(' Two  words,\n中文 ไทย กิน ab中cd 😀😀x e\u0301a ')).toEqual([
      ...['Two', 'words,', '中', '文', 'ไ', 'ท', 'ย', 'กิ', 'น', 'ab', '中', 'cd', '😀', '😀', 'x', 'e\u0301a'],
    ]);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const tokens = tokensOf(text);
        expect(tokens.join('')).toBe(text.replace(/\s+/g, ''));
        // No token begins or ends inside a character.
        expect(tokens.filter((token) => token !== Buffer.from(token).toString())).toEqual([]);
      }),
    );
  });
});

describe('repeated spans', () => {
  it('are those of brute force, for any text, limit, parts and memory', async () => {
    // Few different words, so that windows repeat and overlap inside a document and across.
    const words = fc.array(fc.constantFrom('a', 'b', 'c', '中', '😀', 'dd\n'), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(words, { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 4, max: 9 }),
        fc.integer({ min: 1, max: 6 }),
        fc.constantFrom(500, 1 << 20),
        async (documents, minTokens, partSize, memoryBytes) => {
          const texts = documents.map((list) => list.join(' '));
          const parts = Array.from({ length: Math.ceil(texts.length / partSize) }, (_, i) =>
            texts.slice(i * partSize, (i + 1) * partSize),
          );
          const { texts: result } = await cutSpans(parts, minTokens, { memoryBytes });
          expect(result.flat().map(tokensOf)).toEqual(keptByForce(texts, minTokens));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('go from all but the first place, with text around them left as it was', async () => {
    const rng = new Rng(1, 'spans');
    const some = (count: number) => Array.from({ length: count }, () => `w${rng.below(1e6)}`).join(' ');
    const repeated = some(60);
    const short = some(49);
    const texts = [
      `First ${some(30)}.\n\n${repeated}\n\nEnd of it ${short}`,
      `Second\n\n${repeated.replace(/ /g, '\n')} goes on`,
      `${repeated}\n\nafter`,
      `Third: ${repeated}`,
      short,
      `${some(80)} ${some(80)}`,
    ];
    const { texts: result, summary } = await cutSpans([texts.slice(0, 2), texts.slice(2)], 50);
    expect(result.flat()).toEqual([texts[0], 'Second\n\ngoes on', 'after', 'Third:', short, texts[5]]);
    // Windows of the rest are not even looked at: the four places have 11 each, and few beside them.
    expect(summary.numRepeated).toBe(33);
    expect(summary.numWindows).toBeLessThan(200);
  });

  it('is what is left without any window twice, and every word that goes stood before', async () => {
    const rng = new Rng(2, 'left');
    const pool = Array.from({ length: 20 }, () => Array.from({ length: 40 }, () => `w${rng.below(1000)}`).join(' '));
    const texts = Array.from({ length: 40 }, () => Array.from({ length: 5 }, () => pool[rng.below(20)]).join(' '));
    const { texts: result } = await cutSpans([texts], 25);
    const kept = keptByForce(texts, 25);
    expect(result.flat().map(tokensOf)).toEqual(kept);
    expect(result.join(' ').length).toBeLessThan(texts.join(' ').length / 3);
    const lost: string[] = [];
    const before = new Set<string>();
    for (const [i, text] of texts.entries()) {
      const left = new Set(tokensOf(result[0]![i]!));
      for (const word of tokensOf(text)) {
        if (!left.has(word) && !before.has(word)) lost.push(word);
        before.add(word);
      }
    }
    expect(lost).toEqual([]);
  });

  it('do not count in documents that are gone', async () => {
    const words = Array.from({ length: 20 }, (_, i) => `w${i}`).join(' ');
    const texts = [[words, words], [`x ${words}`]];
    expect((await cutSpans(texts, 10)).texts).toEqual([[words, ''], ['x']]);
    // The second is gone as a copy; the others repeat each other.
    expect((await cutSpans(texts, 10, { exact: true })).texts[0]![0]).toBe(words);
    expect((await cutSpans([[words], [words]], 10, { exact: true })).summary.numWindows).toBe(0);
  });

  it('refuses texts that are not those that were digested, and limits that are none', async () => {
    const words = Array.from({ length: 20 }, (_, i) => `w${i}`).join(' ');
    const { files } = await cutSpans([[words, words]], 10);
    expect(() => new SpanCutter(files[0]!.spans, { minTokens: 10 }).edit(1, 'another text')).toThrow(
      'does not belong to the texts',
    );
    expect(() => new SpanCutter(files[0]!.spans, { minTokens: 11 }).edit(1, words)).toThrow(
      'was made with other options',
    );
    expect(() => new FingerprintWriter('unused', { minTokens: 2 })).toThrow('at least 4');
  });
});
