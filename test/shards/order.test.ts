import * as fs from 'node:fs';
import * as path from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256File } from '../../src/base/hash.ts';
import { Rng } from '../../src/base/rng.ts';
import { BlendPicker } from '../../src/shards/blend-picker.ts';
import { compileEvalOrder, compileOrder, readOrderFile, type Segment, ShardWriter } from '../../src/shards/index.ts';
import { makeFolder } from './fixtures.ts';

let folder: string;
beforeAll(() => {
  folder = makeFolder('order');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** A shard of documents with these lengths; tokens count up from 0. */
function shardOf(name: string, lengths: readonly number[]): { prefix: string; corpus: string } {
  const prefix = path.join(folder, name);
  const writer = new ShardWriter(prefix, 1 << 20);
  let next = 0;
  for (const length of lengths) writer.addDocument(Array.from({ length }, () => next++));
  writer.finish();
  fs.writeFileSync(`${prefix}.bytes`, Buffer.from(Uint32Array.from(lengths, (n) => 3 * n).buffer));
  return { prefix, corpus: name };
}

/** [corpus of the sequence, its segments] for each sequence. */
function readOrder(out: string, files: readonly { file: string }[]): Segment[][] {
  return files.flatMap(({ file }) => {
    const order = readOrderFile(path.join(out, file));
    return Array.from({ length: order.numSequences }, (_, i) => order.segments(i));
  });
}

const lengthsOf = (seed: number, n: number, max: number) => {
  const rng = new Rng(seed);
  return Array.from({ length: n }, () => rng.below(max));
};

describe('the blend', () => {
  it('keeps every prefix within one sequence of its shares', () => {
    const shares = fc
      .array(fc.integer({ min: 0, max: 1000 }), { minLength: 1, maxLength: 7 })
      .filter((list) => list.some((x) => x > 0));
    fc.assert(
      fc.property(shares, (weights) => {
        const sum = weights.reduce((a, b) => a + b, 0);
        const picker = new BlendPicker(weights.map((w) => w / sum));
        const used = weights.map(() => 0);
        let furthest = 0;
        for (let n = 1; n <= 500; n++) {
          used[picker.next()]++;
          weights.forEach((w, i) => {
            furthest = Math.max(furthest, Math.abs(used[i] - (w / sum) * n));
          });
        }
        expect(furthest).toBeLessThanOrEqual(1);
        expect(used.filter((n, i) => weights[i] === 0 && n > 0)).toEqual([]);
      }),
      { numRuns: 100 },
    );
  });

  it('names the phase when a blend is wrong', () => {
    const shards = [shardOf('handbook', [10, 20])];
    const compile = (blend: Record<string, number>) => () =>
      compileOrder({ phases: [{ name: 'first', numSequences: 1, blend }], shards, seqLen: 4, seed: 1, folder });
    expect(compile({ handbok: 1 })).toThrow(
      /Phase "first" blends corpus "handbok", which is not among: handbook\. Did you mean "handbook"\?/,
    );
    expect(compile({ handbook: 0.5 })).toThrow(/shares sum to 0\.5, expected 1/);
    expect(compile({ handbook: -1 })).toThrow(/has share -1/);
  });
});

describe('compileOrder', () => {
  it('uses each pair of a corpus exactly once an epoch and fills every sequence', () => {
    const seqLen = 16;
    const lengths = [...lengthsOf(1, 200, 60), 0, 1, 2, 500];
    const shards = [
      shardOf('once-a', lengths.slice(0, 150)),
      { ...shardOf('once-b', lengths.slice(150)), corpus: 'once-a' },
    ];
    const pairs = lengths.reduce((sum, n) => sum + Math.max(0, n - 1), 0);
    const numSequences = Math.floor((3 * pairs) / seqLen);
    const out = path.join(folder, 'once');
    const { files, statistics } = compileOrder({
      phases: [{ name: 'all', numSequences, blend: { 'once-a': 1 } }],
      shards,
      seqLen,
      seed: 7,
      folder: out,
      sequencesPerFile: 50,
    });
    expect(files.length).toBe(Math.ceil(numSequences / 50));
    expect(files.map((file) => file.firstSequence)).toEqual(files.map((_, i) => 50 * i));
    const order = readOrder(out, files);
    expect(order).toHaveLength(numSequences);
    for (const segments of order) expect(segments.reduce((sum, s) => sum + s.length, 0)).toBe(seqLen);
    // Pairs in the order of use, as shard:first token; three epochs, the last not quite complete.
    const used = order
      .flat()
      .flatMap(({ shard, first, length }) => Array.from({ length }, (_, k) => `${shard}:${first + k}`));
    for (let epoch = 0; epoch < 2; epoch++)
      expect(new Set(used.slice(epoch * pairs, (epoch + 1) * pairs)).size).toBe(pairs);
    expect(used.slice(0, 100)).not.toEqual(used.slice(pairs, pairs + 100));
    // No pair crosses from one document into the next.
    const ends = (list: readonly number[]) =>
      new Set(list.map((_, i) => list.slice(0, i + 1).reduce((a, b) => a + b, 0) - 1));
    const lastTokens = [ends(lengths.slice(0, 150)), ends(lengths.slice(150))];
    const crossing = order
      .flat()
      .filter(({ shard, first, length }) =>
        Array.from({ length }, (_, k) => first + k).some((t) => lastTokens[shard].has(t)),
      );
    expect(crossing).toEqual([]);
    expect(statistics.corpora).toEqual([
      {
        corpus: 'once-a',
        numTokens: numSequences * seqLen,
        numEpochs: (numSequences * seqLen) / pairs,
        numTokensPerEpoch: pairs,
        losses: { numPadding: 0, numRepeated: 0, numCuts: expect.any(Number) },
        heldOutElsewhere: { numDocuments: 0, numTokens: 0 },
      },
    ]);
  });

  it('gives each piece of exactly seqLen pairs a sequence of its own, but for one an epoch', () => {
    const seqLen = 16;
    const lengths = [...lengthsOf(8, 150, 30), ...lengthsOf(9, 50, 200), 17, 33];
    const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
    const wholes = lengths.flatMap((length, i) =>
      Array.from({ length: Math.floor(Math.max(0, length - 1) / seqLen) }, (_, k) => starts[i] + k * seqLen),
    );
    const pairs = lengths.reduce((sum, n) => sum + Math.max(0, n - 1), 0);
    const numSequences = Math.ceil(pairs / seqLen);
    const out = path.join(folder, 'wholes');
    const phases = [{ name: 'all', numSequences, blend: { wholes: 1 } }];
    const { files } = compileOrder({ phases, shards: [shardOf('wholes', lengths)], seqLen, seed: 2, folder: out });
    const order = readOrder(out, files);
    const alone = order.filter((segments) => segments.length === 1).map(([segment]) => segment.first);
    const kept = wholes.filter((first) => alone.includes(first));
    expect(wholes.length).toBeGreaterThan(numSequences / 2);
    expect(wholes.length - kept.length).toBeLessThanOrEqual(1);
    // The share of sequences that are one window of one document is that of the corpus's pairs in such windows.
    expect(Math.abs(kept.length - (wholes.length * seqLen * numSequences) / pairs)).toBeLessThanOrEqual(2);
    const used = order.flat().flatMap(({ first, length }) => Array.from({ length }, (_, k) => first + k));
    expect(new Set(used.slice(0, pairs)).size).toBe(pairs);
  });

  it('follows the blend phase by phase, mixes inside short stretches, and goes on where a corpus stopped', () => {
    const shards = [
      shardOf('web', lengthsOf(2, 300, 40)),
      shardOf('docs', lengthsOf(3, 300, 40)),
      shardOf('unused', [50]),
    ];
    const phases = [
      { name: 'general', numSequences: 300, blend: { web: 0.7, docs: 0.3 } },
      { name: 'domain', numSequences: 100, blend: { web: 0.2, docs: 0.8 } },
    ];
    const out = path.join(folder, 'phases');
    const { files, statistics } = compileOrder({ phases, shards, seqLen: 8, seed: 1, folder: out });
    const corpora = readOrder(out, files).map((segments) => shards[segments[0].shard].corpus);
    const count = (from: number, to: number, corpus: string) =>
      corpora.slice(from, to).filter((c) => c === corpus).length;
    expect([count(0, 300, 'web'), count(300, 400, 'web')]).toEqual([210, 20]);
    for (let start = 0; start + 10 <= 300; start += 10)
      expect(Math.abs(count(start, start + 10, 'web') - 7)).toBeLessThanOrEqual(1);
    expect(statistics.phases.map(({ corpora: use }) => use.map((c) => c.numTokens))).toEqual([
      [1680, 720],
      [160, 640],
    ]);
    // docs ran 720 + 640 pairs without a repeat inside its first epoch, across the phases' border.
    const docs = readOrder(out, files)
      .flat()
      .filter((s) => s.shard === 1);
    const pairs = docs.flatMap(({ first, length }) => Array.from({ length }, (_, k) => first + k));
    const perEpoch = statistics.corpora.find((c) => c.corpus === 'docs')!.numTokensPerEpoch;
    expect(new Set(pairs.slice(0, perEpoch)).size).toBe(Math.min(perEpoch, pairs.length));
  });

  it('goes on with sequences of another length where it stopped, and leaves whole documents for the longer ones', () => {
    const pairsOf = (lengths: readonly number[]) => lengths.reduce((sum, n) => sum + Math.max(0, n - 1), 0);
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 1000 }),
        fc.array(fc.constantFrom(4, 8, 12, 32), { minLength: 2, maxLength: 5 }),
        (seed, seqLens) => {
          const lengths = [...lengthsOf(seed, 60, 20), ...lengthsOf(seed + 1, 20, 300)];
          const pairs = pairsOf(lengths);
          const shards = [shardOf('lengths', lengths)];
          const phases = seqLens.map((seqLen, i) => ({
            name: `phase ${i}`,
            numSequences: Math.ceil((pairs * (0.3 + 0.2 * i)) / seqLen),
            blend: { lengths: 1 },
            seqLen,
          }));
          const out = path.join(folder, 'lengths');
          const { files } = compileOrder({ phases, shards, seqLen: 1, seed, folder: out, sequencesPerFile: 40 });
          const order = readOrder(out, files);
          let at = 0;
          for (const { numSequences, seqLen } of phases)
            for (const end = at + numSequences; at < end; at++)
              expect(order[at]!.reduce((sum, s) => sum + s.length, 0)).toBe(seqLen);
          expect(order).toHaveLength(at);
          expect(files.at(-1)!.firstSequence + files.at(-1)!.numSequences).toBe(at);
          const used = order.flat().flatMap(({ first, length }) => Array.from({ length }, (_, k) => first + k));
          for (let from = 0; from + pairs <= used.length; from += pairs)
            expect(new Set(used.slice(from, from + pairs)).size).toBe(pairs);
        },
      ),
      { numRuns: 60 },
    );
    // Long documents, half of them read in short sequences: nearly all that is left for the long ones is whole.
    const shards = [shardOf('books', Array(600).fill(1025))];
    const phases = [
      { name: 'short', numSequences: 300 * 64, blend: { books: 1 }, seqLen: 16 },
      { name: 'long', numSequences: 250, blend: { books: 1 } },
    ];
    const out = path.join(folder, 'books');
    const { files } = compileOrder({ phases, shards, seqLen: 1024, seed: 5, folder: out });
    const order = readOrder(out, files);
    const long = order.slice(300 * 64);
    expect(long.filter((segments) => segments.length === 1).length).toBeGreaterThan(0.9 * long.length);
    // Pieces of one document are far apart.
    const documents = order.slice(0, 1000).map(([segment]) => Math.floor(segment!.first / 1025));
    expect(documents.filter((document, i) => i > 0 && document === documents[i - 1]).length).toBeLessThan(80);
  });

  it.each(['fill', 'best-fit', 'concatenate', 'seamless'] as const)(
    'packs as %s: each pair once an epoch, or twice where windows overlap',
    (packing) => {
      const seqLen = 32;
      const lengths = [...lengthsOf(11, 300, 30), ...lengthsOf(12, 60, 400)];
      const starts = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
      const pairs = lengths.reduce((sum, n) => sum + Math.max(0, n - 1), 0);
      const out = path.join(folder, `packing-${packing}`);
      const numSequences = Math.ceil((2.2 * pairs) / seqLen);
      const { files, statistics } = compileOrder({
        phases: [{ name: 'all', numSequences, blend: { packing: 1 } }],
        ...{ shards: [shardOf('packing', lengths)], seqLen, seed: 4, packing, folder: out },
      });
      const order = readOrder(out, files);
      const [{ losses, numTokens }] = statistics.corpora as [(typeof statistics.corpora)[number]];
      const room = order.map((segments) => seqLen - segments.reduce((sum, s) => sum + s.length, 0));
      expect(Math.min(...room)).toBe(0);
      expect(room.reduce((a, b) => a + b, 0)).toBe(losses.numPadding);
      expect(numTokens + losses.numPadding).toBe(numSequences * seqLen);
      // Every pair of the first epoch, before any comes a second time but for windows that overlap.
      const seen = new Set<number>();
      let repeated = 0;
      for (const { first, length } of order.flat()) {
        if (seen.size === pairs) break;
        for (let t = first; t < first + length; t++) {
          if (seen.has(t)) repeated++;
          seen.add(t);
        }
      }
      expect(seen.size).toBe(pairs);
      if (packing !== 'seamless') expect(repeated).toBe(0);
      else {
        expect(repeated).toBeGreaterThan(0);
        expect(repeated / pairs).toBeLessThan(0.3);
      }
      // Pieces that begin or end inside a document, other than after a whole number of sequences.
      const isShort = ({ first, length }: Segment) => {
        const document = starts.findLastIndex((start) => start <= first);
        const end = starts[document]! + lengths[document]! - 1;
        return lengths[document]! - 1 < seqLen && (first !== starts[document] || first + length !== end);
      };
      const numCut = order.flat().filter(isShort).length;
      if (packing === 'best-fit' || packing === 'seamless') {
        expect(numCut).toBe(0);
        expect(losses.numCuts).toBe(0);
        expect(losses.numPadding / (numSequences * seqLen)).toBeLessThan(0.02);
      } else {
        expect(losses.numPadding).toBe(0);
        expect(numCut).toBeGreaterThan(0);
      }
      const numWhole = order.filter((segments) => segments.length === 1).length;
      if (packing === 'concatenate') expect(numWhole).toBeLessThan(0.8 * numSequences);
    },
  );

  it('is the same for the same seed, whatever the file size, and another for another seed', () => {
    const shards = [shardOf('seeded', lengthsOf(4, 500, 30))];
    const compile = (seed: number, sequencesPerFile: number) => {
      const out = path.join(folder, `seed-${seed}-${sequencesPerFile}`);
      const phases = [{ name: 'all', numSequences: 200, blend: { seeded: 1 } }];
      return readOrder(out, compileOrder({ phases, shards, seqLen: 32, seed, folder: out, sequencesPerFile }).files);
    };
    const first = compile(1, 1000);
    expect(compile(1, 33)).toEqual(first);
    expect(compile(2, 1000)).not.toEqual(first);
  });

  it('refuses a corpus without a pair', () => {
    const shards = [shardOf('pairless', [1, 0, 1])];
    const phases = [{ name: 'all', numSequences: 1, blend: { pairless: 1 } }];
    expect(() => compileOrder({ phases, shards, seqLen: 4, seed: 1, folder })).toThrow(
      /corpus "pairless" has no document of two tokens or more/,
    );
  });

  it('shuffles a hundred thousand documents, each used once', () => {
    const prefix = path.join(folder, 'many');
    const writer = new ShardWriter(prefix, 1000);
    for (let i = 0; i < 100_000; i++) writer.addDocument([i % 1000, 1, 2]);
    writer.finish();
    const out = path.join(folder, 'many-order');
    const phases = [{ name: 'all', numSequences: 380, blend: { many: 1 } }];
    const { files } = compileOrder({
      phases,
      shards: [{ prefix, corpus: 'many' }],
      seqLen: 512,
      seed: 1,
      folder: out,
    });
    const firsts = readOrder(out, files)
      .flat()
      .filter((s) => s.length === 2)
      .map((s) => s.first);
    expect(firsts.length).toBeGreaterThan(96_000);
    expect(new Set(firsts).size).toBe(firsts.length);
  });
});

describe('order files', () => {
  it('have the documented bytes', () => {
    const out = path.join(folder, 'bytes');
    const { files } = compileOrder({
      phases: [{ name: 'all', numSequences: 2, blend: { bytes: 1 } }],
      shards: [shardOf('bytes', [9])],
      seqLen: 4,
      seed: 1,
      folder: out,
    });
    const hex = fs.readFileSync(path.join(out, files[0].file)).toString('hex');
    const units = [0, 4];
    const body = readOrder(out, files).map(([s]) => s.first);
    expect([...body].sort()).toEqual(units);
    const u32 = (n: number) => Buffer.from(Uint32Array.of(n).buffer).toString('hex');
    const header = Buffer.from('CNTORDER').toString('hex') + u32(1) + u32(4) + u32(2) + u32(2) + u32(0) + u32(0);
    const index = u32(0) + u32(1) + u32(2);
    const segments = body.map((first) => u32(0) + u32(first) + u32(0) + u32(4)).join('');
    expect(hex).toBe(header + index + segments);
  });

  it('answer hundreds of mutations with a DataError or with sequences that fit', () => {
    const out = path.join(folder, 'fuzz');
    const { files } = compileOrder({
      phases: [{ name: 'all', numSequences: 40, blend: { fuzz: 1 } }],
      shards: [shardOf('fuzz', lengthsOf(5, 100, 20))],
      seqLen: 16,
      seed: 1,
      folder: out,
    });
    const whole = fs.readFileSync(path.join(out, files[0].file));
    const rng = new Rng(9);
    const file = path.join(out, 'mutated.bin');
    for (let i = 0; i < 700; i++) {
      const bytes = Buffer.from(whole);
      for (let k = 0; k <= i % 3; k++) bytes[i % 2 ? rng.below(36) : rng.below(whole.length)] = rng.below(256);
      fs.writeFileSync(file, i % 7 ? bytes : bytes.subarray(0, rng.below(whole.length)));
      try {
        const order = readOrderFile(file);
        let longest = 0;
        for (let s = 0; s < order.numSequences; s++)
          longest = Math.max(
            longest,
            order.segments(s).reduce((sum, { length }) => sum + length, 0),
          );
        expect(longest).toBeLessThanOrEqual(order.seqLen);
      } catch (error) {
        expect((error as Error).name).toBe('DataError');
      }
    }
  });
});

describe('compileEvalOrder', () => {
  it('covers whole documents, each pair once, in windows of at most seqLen, and counts their bytes', () => {
    const lengths = [...lengthsOf(6, 60, 50), 100];
    const { prefix } = shardOf('eval', lengths);
    const file = path.join(folder, 'eval-order.bin');
    const counts = compileEvalOrder({ prefix, shard: 5, seqLen: 16, file });
    const pairs = lengths.reduce((sum, n) => sum + Math.max(0, n - 1), 0);
    const bytes = 3 * lengths.reduce((a, b) => a + b, 0);
    expect(counts).toMatchObject({ numTokens: pairs, numDocuments: lengths.length, numBytes: bytes });
    const segments = readOrder(folder, [{ file: 'eval-order.bin' }]);
    expect(segments).toHaveLength(counts.numSequences);
    expect(counts.numSequences).toBeLessThan(1.1 * (pairs / 16) + 2);
    expect(segments.flat().every((s) => s.shard === 5 && s.length <= 16)).toBe(true);
    const used = segments.flat().flatMap(({ first, length }) => Array.from({ length }, (_, k) => first + k));
    expect(new Set(used).size).toBe(pairs);
    expect(used).toHaveLength(pairs);
  });

  it('cuts at maxTokens between documents, at least one, and is the same every time', () => {
    const { prefix } = shardOf('eval-cut', [11, 21, 31]);
    const file = path.join(folder, 'eval-cut-order.bin');
    const cut = (maxTokens: number) => compileEvalOrder({ prefix, shard: 0, seqLen: 16, maxTokens, file });
    expect(cut(30)).toMatchObject({ numTokens: 30, numDocuments: 2, numBytes: 96 });
    expect(cut(29)).toMatchObject({ numTokens: 10, numDocuments: 1, numBytes: 33 });
    const digest = sha256File(file);
    expect(cut(1)).toMatchObject({ numTokens: 10, numDocuments: 1 });
    expect(sha256File(file)).toBe(digest);
  });

  it('refuses a set whose byte counts are missing', () => {
    const { prefix } = shardOf('eval-nobytes', [5]);
    fs.rmSync(`${prefix}.bytes`);
    expect(() => compileEvalOrder({ prefix, shard: 0, seqLen: 4, file: path.join(folder, 'x.bin') })).toThrow(
      /eval-nobytes\.bytes: 0 bytes, expected 4/,
    );
  });
});

describe('a corpus that is read in its order', () => {
  it.each(['fill', 'concatenate', 'best-fit', 'seamless'] as const)(
    'goes from its first document to its last, every epoch: %s',
    (packing) => {
      const shard = shardOf(
        `ordered-${packing}`,
        lengthsOf(5, 400, 60).map((n) => n + 2),
      );
      const out = path.join(folder, `order-${packing}`);
      const seqLen = 64;
      const numPairs = lengthsOf(5, 400, 60).reduce((sum, n) => sum + n + 1, 0);
      const compiled = (into: string, inOrder: string[]) => {
        const phase = { name: 'all', numSequences: Math.floor((2 * numPairs) / seqLen), blend: { [shard.corpus]: 1 } };
        const { files } = compileOrder({
          phases: [phase],
          shards: [shard],
          seqLen,
          seed: 1,
          packing,
          inOrder,
          folder: into,
        });
        return readOrder(into, files).map((segments) => Math.min(...segments.map(({ first }) => first)));
      };
      const firsts = compiled(out, [shard.corpus]);
      // Where an epoch begins the first tokens come again; inside of one, starts only rise.
      const falls = firsts.filter((first, i) => i > 0 && first < firsts[i - 1]!).length;
      expect(falls).toBeLessThanOrEqual(2);
      expect(compiled(out, [shard.corpus])).toEqual(firsts);
      expect(
        compiled(`${out}-shuffled`, []).filter((first, i, all) => i > 0 && first < all[i - 1]!).length,
      ).toBeGreaterThan(20);
    },
  );
});
