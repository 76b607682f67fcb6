import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { openModel } from '../../src/checkpoint/index.ts';
import { alignTokens, kindOf, lossTables, type ScoredToken, scoreTokens } from '../../src/eval/index.ts';
import { pickKernels } from '../../src/kernels/index.ts';
import { loadDecoder } from '../../src/nn/index.ts';
import { tokenLosses } from '../../src/pipeline/index.ts';
import { tokenText, writeTokenLossPage } from '../../src/report/index.ts';

const source = openModel(path.resolve('data/base-en-8m'));
const tokenizer = source.tokenizer();
const decoder = loadDecoder(
  source,
  'f32',
  pickKernels(() => {}),
  'inference',
);
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-loss-'));
afterAll(() => {
  source.close();
  fs.rmSync(folder, { recursive: true, force: true });
});

const TEXT =
  'The ships of the harbour, 27 in all, had names: Ærø, Łódź, 東京 and "Queen <of> the Sea"; if (x) { y = 3; }\n';

describe('tokens of a text', () => {
  it('are scored the same through logits, with what was likeliest', () => {
    const plain = scoreTokens(decoder, tokenizer, TEXT, { seqLen: 32 });
    const full = scoreTokens(decoder, tokenizer, TEXT, { seqLen: 32, alternatives: true });
    expect(full.map(({ text }) => text).join('')).toBe(TEXT);
    expect(full).toHaveLength(plain.length);
    full.forEach(({ nats, likeliest, context, numTokens }, i) => {
      // f32 sums in another order, over up to three tokens.
      expect(Math.abs(nats - plain[i]!.nats)).toBeLessThan(1e-3);
      expect(context).toBeGreaterThan(0);
      expect(context).toBeLessThanOrEqual(32);
      // No token is likelier than the likeliest.
      if (numTokens === 1) expect(Math.exp(-nats)).toBeLessThanOrEqual(likeliest!.probability * (1 + 1e-6));
    });
    // Characters of several bytes that are several tokens make one piece.
    expect(full.some(({ numTokens }) => numTokens > 1)).toBe(true);
    expect(full.every(({ text }) => !text.includes('\ufffd'))).toBe(true);
  });

  it('are of a kind', () => {
    const kinds = { ' Queen': 'beginnings of words', ueen: 'insides of words', ' 27': 'digits', ',': 'punctuation' };
    for (const [text, kind] of Object.entries({ ...kinds, ' {': 'signs of code', '\n': 'white space' }))
      expect(kindOf({ text }), text).toBe(kind);
  });
});

const made = (...texts: [string, number][]): ScoredToken[] =>
  texts.map(([text, nats], i) => ({ text, nats, numTokens: 1, id: i, context: i + 1 }));

describe('two models', () => {
  it('with other vocabularies are compared between boundaries that both have', () => {
    const pieces = alignTokens(
      made(['Post', 1], ['greSQL', 2], [' is', 0.5], [' fast', 1]),
      made(['PostgreSQL', 5], [' ', 1], ['is', 1], [' f', 1], ['ast', 1]),
    );
    expect(pieces.map(({ text, nats, base }) => [text, nats, base!.nats])).toEqual([
      ['PostgreSQL', 3, 5],
      [' is', 0.5, 2],
      [' fast', 1, 2],
    ]);
    expect(() => alignTokens(made(['a', 1]), made(['b', 1]))).toThrow('do not give back the same text');
    expect(() => alignTokens(made(['a', 1]), made(['a', 1], ['b', 1]))).toThrow('do not give back the same text');
  });

  const documents = ['web', 'web', 'docs', 'docs'].map((corpus, i) => ({
    corpus,
    source: `${corpus}-${i}`,
    pieces: alignTokens(
      made(['Word', 2 + i / 10], [' and', 1], [' 12', 3]),
      made(['Word', 2], [' and', 1.1 + i / 20], [' 12', 5]),
    ),
  }));

  it('have tables in which shares add up and changes are paired', () => {
    const tables = lossTables(documents, { counts: Float64Array.from([5000, 50, 0]), total: 1e6 });
    expect(tables.map(({ by }) => by)).toEqual(['corpus', 'source', 'kind of token', 'frequency in training']);
    for (const { groups } of tables) expect(groups.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 12);
    const digits = tables[2]!.groups.find(({ name }) => name === 'digits')!;
    expect(digits).toMatchObject({ numTokens: 4, numBytes: 12 });
    expect(digits.change!.difference).toBeCloseTo(-2 / 3 / Math.LN2, 12);
    expect(tables[3]!.groups.map(({ name }) => name)).toEqual(['1,000 in a million or more', '10 to 100', 'never']);
  });

  it('are shown as text', () => {
    const file = path.join(folder, 'loss.html');
    writeTokenLossPage(file, { model: 'tuned', base: 'base', seqLen: 64, tables: lossTables(documents), documents });
    const html = fs.readFileSync(file, 'utf8');
    expect(html).toContain('<span class="b4" title="tuned 3.00 nats\nbase 5.00 nats"> 12</span>');
    expect(html).not.toMatch(/NaN|Infinity|undefined|<script/);
    expect(tokenText(documents[0]!.pieces, false)).toBe('Word and{+ 12+}');
    expect(tokenText(documents[0]!.pieces, true)).toContain('\x1b[30;48;5;75m 12\x1b[0m');
  });
});

describe('eval-loss', () => {
  it('reads documents, and finds no change of a model beside itself', async () => {
    const file = path.join(folder, 'two.jsonl');
    const texts = ['A ship lay in the harbour. '.repeat(40), 'Rain fell on the roofs of the town. '.repeat(40)];
    fs.writeFileSync(file, texts.map((text) => JSON.stringify({ text })).join('\n'));
    const model = path.resolve('data/base-en-8m');
    const request = { data: [file], base: model, tokens: 1000, alternatives: false };
    const { tables, documents, seqLen } = await tokenLosses(model, request, { quiet: true });
    expect(seqLen).toBe(512);
    // A tenth of the tokens from each: beginnings, not whole documents.
    expect(documents.map(({ pieces }) => pieces.map(({ text }) => text).join(''))).toEqual(
      texts.map((text) => text.slice(0, 400)),
    );
    expect(tables[0]!.groups[0]).toMatchObject({ name: file, numBytes: 800, change: { difference: 0, numPairs: 2 } });
    await expect(tokenLosses(model, { ...request, data: [] }, {})).rejects.toThrow('--data PATH');
  });
});
