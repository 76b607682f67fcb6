import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { fingerprint, sha256File } from '../../src/base/hash.ts';
import { compileJob, type JobOptions, openJob, ShardWriter } from '../../src/shards/index.ts';
import { makeFolder } from './fixtures.ts';

const START = 0;
let folder: string;
let options: JobOptions;

/** Documents whose ids say where they are from: base, base + 1, ... after a start token. */
function shardOf(name: string, base: number, lengths: readonly number[]): string {
  const prefix = path.join(folder, name);
  const writer = new ShardWriter(prefix, 70_000);
  let next = base;
  for (const length of lengths) writer.addDocument([START, ...Array.from({ length: length - 1 }, () => next++)]);
  writer.finish();
  fs.writeFileSync(`${prefix}.bytes`, Buffer.from(Uint32Array.from(lengths).buffer));
  return prefix;
}

beforeAll(() => {
  folder = makeFolder('job');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
beforeEach(async () => {
  options = {
    folder: path.join(folder, 'run/job'),
    name: 'test',
    model: 'model',
    precision: 'bf16',
    seed: 3,
    batch: { seqLen: 16, sequencesPerStep: 4, sequencesPerMicroBatch: 2 },
    optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
    numSteps: 10,
    phases: [
      { name: 'general', firstStep: 0, numSteps: 6, blend: { web: 0.5, docs: 0.5 } },
      { name: 'domain', firstStep: 6, numSteps: 4, blend: { docs: 1 } },
    ],
    shards: [
      { corpus: 'web', prefix: shardOf('web', 1000, Array(40).fill(13)) },
      { corpus: 'docs', prefix: shardOf('docs', 5000, Array(30).fill(29)) },
    ],
    schedule: Float64Array.from({ length: 10 }, (_, i) => 1e-3 / (i + 1)),
    checkpoint: { everySteps: 5, keep: 2 },
    evaluation: {
      everySteps: 5,
      sets: [
        { name: 'docs', role: 'domain', prefix: shardOf('docs-held', 9000, [20, 5, 7]) },
        { name: 'web', role: 'general', prefix: shardOf('web-held', 9500, [9]), maxTokens: 100 },
      ],
    },
    sequencesPerFile: 16,
  };
});

describe('a job', () => {
  it('comes back as it was compiled', async () => {
    const { job, statistics } = await compileJob(options);
    const reader = openJob(options.folder);
    expect(reader.job).toEqual(job);
    expect(job.order.map((ref) => ref.numSequences)).toEqual([16, 16, 8]);
    expect(Object.keys(job.digests).sort()).toEqual(
      ['eval-00.bin', 'eval-01.bin', 'order-00000.bin', 'order-00001.bin', 'order-00002.bin', 'schedule.f32'].sort(),
    );
    expect(reader.lrAt(3)).toBe(Math.fround(1e-3 / 4));
    expect(statistics.phases[1].corpora).toMatchObject([
      { corpus: 'web', numTokens: 0 },
      { corpus: 'docs', numTokens: 256 },
    ]);
    expect(job.evaluation.sets).toMatchObject([
      { name: 'docs', numTokens: 29, numBytes: 32, numDocuments: 3, order: { numSequences: 2 } },
      { name: 'web', numTokens: 8, numBytes: 9, numDocuments: 1 },
    ]);
    reader.close();
  });

  it('cuts the steps of a phase into sequences of its own length', async () => {
    const batch = { seqLen: 32, sequencesPerStep: 2, sequencesPerMicroBatch: 1 };
    const [general, domain] = options.phases;
    const phases = [general!, { ...domain!, objective: 'answers' as const, batch }];
    const { job } = await compileJob({ ...options, phases });
    const reader = openJob(options.folder);
    expect(job.order.map((ref) => ref.numSequences)).toEqual([16, 8, 8]);
    expect([5, 6, 9].map((step) => reader.stepAt(step))).toEqual([
      { ...options.batch, firstSequence: 20 },
      { ...batch, firstSequence: 24 },
      { ...batch, firstSequence: 30 },
    ]);
    const lengths = Array.from({ length: 32 }, (_, i) => reader.sequence(i).inputs.length);
    expect(lengths).toEqual([...Array(24).fill(16), ...Array(8).fill(32)]);
    expect(reader.evalSequence('docs', 0).inputs).toHaveLength(16);
    reader.close();
    const wrong = [general!, { ...domain!, batch: { ...batch, sequencesPerStep: 4 } }];
    await expect(compileJob({ ...options, phases: wrong })).rejects.toThrow(
      'Phase "domain" has 128 tokens a step, the job 64: every step of a job has as many.',
    );
  });

  it('records what it leaves out because another corpus holds it out', async () => {
    const hashes = (name: string, list: number[]) =>
      fs.writeFileSync(path.join(folder, `${name}.hashes`), Buffer.from(Float64Array.from(list).buffer));
    hashes('docs-held', [0.25, 0.5, 0.125]);
    hashes('web-held', [0.75]);
    // The third and fifth document of web are held out by docs; its own held-out text does not count.
    hashes(
      'web',
      Array.from({ length: 40 }, (_, i) => [0.1, 0.2, 0.5, 0.3, 0.25, 0.75][i] ?? 0.9 + i / 1000),
    );
    const phases = [{ name: 'all', firstStep: 0, numSteps: 10, blend: { web: 1 } }];
    const { job, statistics } = await compileJob({ ...options, phases });
    for (const name of ['docs-held', 'web-held', 'web']) fs.rmSync(path.join(folder, `${name}.hashes`));
    expect(job.heldOutElsewhere).toEqual({ web: { numDocuments: 2, numTokens: 26 } });
    expect(statistics.corpora[0]).toMatchObject({ corpus: 'web', numTokensPerEpoch: 38 * 12 });
    const reader = openJob(options.folder);
    const used = Array.from({ length: 40 }, (_, i) => reader.sequence(i)).flatMap(({ inputs }) => Array.from(inputs));
    // Documents count up by twelve from 1000 on.
    expect(used.filter((id) => (id >= 1024 && id < 1036) || (id >= 1048 && id < 1060))).toEqual([]);
    expect(used).toContain(1036);
    reader.close();
  });

  it('gives sequences whose targets are the next tokens and whose documents do not touch', async () => {
    const { job } = await compileJob(options);
    const reader = openJob(options.folder);
    for (let i = 0; i < 40; i++) {
      const { inputs, targets, docStart, shard } = reader.sequence(i);
      const corpus = job.shards[shard[0]].corpus;
      for (let t = 0; t < 16; t++) {
        expect(job.shards[shard[t]].corpus).toBe(corpus);
        if (inputs[t] !== START) expect(targets[t]).toBe(inputs[t] + 1);
        expect(docStart[t]).toBeLessThanOrEqual(t);
        const continues = t > 0 && docStart[t] === docStart[t - 1];
        if (continues) expect(inputs[t]).toBe(targets[t - 1]);
        else expect(docStart[t]).toBe(t);
        // A start token is never inside a document.
        if (inputs[t] === START) expect(docStart[t]).toBe(t);
      }
      if (i >= 24) expect(corpus).toBe('docs');
    }
    reader.close();
  });

  it('pads held-out sequences with nothing to predict', async () => {
    const { job } = await compileJob(options);
    const reader = openJob(options.folder);
    const set = job.evaluation.sets[0];
    const sequences = Array.from({ length: set.order.numSequences }, (_, i) => reader.evalSequence(set, i));
    const predicted = sequences.flatMap((s) => Array.from(s.targets).filter((id) => id >= 0));
    expect(predicted.sort((a, b) => a - b)).toEqual(Array.from({ length: 29 }, (_, i) => 9000 + i));
    for (const { targets, shard } of sequences)
      for (let t = 0; t < 16; t++) expect(shard[t] === -1).toBe(targets[t] === -1);
    expect(reader.evalSequence('web', 0).targets.slice(0, 9)).toEqual(
      Int32Array.of(9500, 9501, 9502, 9503, 9504, 9505, 9506, 9507, -1),
    );
    reader.close();
  });

  it('is the same, byte for byte, when compiled again', async () => {
    const first = (await compileJob(options)).job;
    const again = (await compileJob({ ...options, folder: path.join(folder, 'again/job') })).job;
    expect(again).toEqual(first);
    expect((await compileJob({ ...options, seed: 4 })).job.fingerprint).not.toBe(first.fingerprint);
  });

  it('is refused when any of its files was edited', async () => {
    await compileJob(options);
    const edit = (name: string, change: (bytes: Buffer) => Buffer) => {
      const file = path.join(options.folder, name);
      const before = fs.readFileSync(file);
      fs.writeFileSync(file, change(Buffer.from(before)));
      try {
        openJob(options.folder).close();
      } finally {
        fs.writeFileSync(file, before);
      }
    };
    const flip = (at: number) => (bytes: Buffer) => {
      bytes[at] ^= 1;
      return bytes;
    };
    expect(() => edit('schedule.f32', flip(2))).toThrow(/schedule\.f32: was edited or is damaged/);
    expect(() => edit('order-00001.bin', flip(100))).toThrow(/order-00001\.bin: was edited or is damaged/);
    expect(() => edit('eval-00.bin', (bytes) => bytes.subarray(0, -1))).toThrow(
      /eval-00\.bin: was edited or is damaged/,
    );
    const replace = (from: string, to: string) => (bytes: Buffer) => Buffer.from(bytes.toString().replace(from, to));
    expect(() => edit('job.json', replace('"numSteps": 10', '"numSteps": 9'))).toThrow(
      /job\.json: was edited or is damaged \(fingerprint/,
    );
    expect(() => edit('job.json', replace('"formatVersion": 1', '"formatVersion": 2'))).toThrow(
      /job format 2, expected 1/,
    );
    expect(() => edit('job.json', (bytes) => bytes.subarray(0, 50))).toThrow(/job\.json: is not valid JSON/);
    expect(() => edit('job.json', () => Buffer.from('null'))).toThrow(/is not a job/);
    fs.rmSync(path.join(options.folder, 'order-00002.bin'));
    expect(() => openJob(options.folder)).toThrow(/order-00002\.bin: no such file/);
  });

  it('is refused when a shard was replaced', async () => {
    await compileJob(options);
    shardOf('web', 1000, Array(40).fill(14));
    expect(() => openJob(options.folder)).toThrow(/web\.bin: holds 560 tokens, the job was compiled for 520/);
    shardOf('web', 1000, [...Array(38).fill(13), 12, 14]);
    expect(() => openJob(options.folder)).toThrow(/web\.idx: is not the index that the job was compiled for/);
  });

  it('names the sequence that refers past the end of a shard', async () => {
    const { job } = await compileJob(options);
    const file = path.join(options.folder, 'order-00000.bin');
    const bytes = fs.readFileSync(file);
    const segmentsAt = 32 + 4 * 17;
    bytes.writeUInt32LE(5000, segmentsAt + 16 * bytes.readUInt32LE(32 + 4 * 3) + 4);
    fs.writeFileSync(file, bytes);
    // Someone who edits a job and repairs its digests gets no further than this.
    const { fingerprint: _, ...content } = { ...job, digests: { ...job.digests, 'order-00000.bin': sha256File(file) } };
    const forged = { ...content, fingerprint: fingerprint(JSON.parse(JSON.stringify(content))) };
    fs.writeFileSync(path.join(options.folder, 'job.json'), JSON.stringify(forged));
    const reader = openJob(options.folder);
    reader.sequence(2);
    expect(() => reader.sequence(3)).toThrow(
      /order-00000\.bin: sequence 3 refers to tokens 5000 to \d+ of .*, which holds/,
    );
    reader.close();
  });

  it('says what does not fit together', async () => {
    const refused = async (change: Partial<JobOptions>, message: RegExp) => {
      await expect(compileJob({ ...options, folder: path.join(folder, 'refused/job'), ...change })).rejects.toThrow(
        message,
      );
      expect(fs.existsSync(path.join(folder, 'refused/job'))).toBe(false);
    };
    await refused({ schedule: [1, 2] }, /schedule has 2 LRs for 10 steps/);
    await refused({ schedule: [...Array(9).fill(1), Number.NaN] }, /LR of step 9 is NaN/);
    await refused(
      { batch: { seqLen: 16, sequencesPerStep: 5, sequencesPerMicroBatch: 2 } },
      /5 sequences cannot be cut into micro-batches of 2/,
    );
    await refused({ phases: [options.phases[0]] }, /phases end at step 6, the job at 10/);
    await refused({ phases: [options.phases[1]] }, /Phase "domain" begins at step 6, expected 0/);
    await refused({ shards: [{ corpus: 'web', prefix: path.join(folder, 'gone') }] }, /gone\.idx: no such file/);
    await refused({ shards: [options.shards[0]] }, /blends corpus "docs", which is not among: web/);
  });
});
