// Conversations in shards: by the model's chat template with its special tokens, or as questions and answers where it has none.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { compileJob, openJob, openShard, prepareCorpus } from '../../src/shards/index.ts';
import { END, makeFolder, words, writeByteTokenizer } from './fixtures.ts';

let folder: string;
beforeAll(() => {
  folder = makeFolder('conversations');
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Turns as <|endoftext|>role: text; a first turn of the assistant is refused. */
const TEMPLATE =
  "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('begin with the user') }}{% endif %}" +
  "{% for message in messages %}{{ '<|endoftext|>' + message['role'] + ': ' + message['content'] }}{% endfor %}";

function model(name: string, template?: string): string {
  const written = writeByteTokenizer(path.join(folder, name));
  const file = path.join(written, 'tokenizer_config.json');
  const config = JSON.parse(fs.readFileSync(file, 'utf8')) as object;
  fs.writeFileSync(file, JSON.stringify({ ...config, ...(template ? { chat_template: template } : {}) }));
  return written;
}

function records(name: string, extra: object[] = []): string {
  const file = path.join(folder, name);
  const pairs = Array.from({ length: 300 }, (_, i) => ({
    question: `${i}? ${words(i, 20)}`,
    answer: words(i + 1000, 30),
  }));
  fs.writeFileSync(file, [...pairs, ...extra].map((record) => `${JSON.stringify(record)}\n`).join(''));
  return file;
}

const prepare = (name: string, modelFolder: string, paths: string, more = {}) =>
  prepareCorpus({
    name,
    role: 'instruction',
    paths,
    modelFolder,
    cacheFolder: path.join(folder, 'cache'),
    numWorkers: 2,
    quiet: true,
    ...more,
  });

function firstDocument(prefix: string): number[] {
  const shard = openShard(prefix);
  const ids = Array.from(shard.read(...shard.documentRange(0)));
  shard.close();
  return ids;
}

it("writes them by the model's template, whose special tokens are tokens", async () => {
  const corpus = await prepare('chat', model('chat', TEMPLATE), records('chat.jsonl'));
  expect(corpus.manifest.conversations).toEqual({ num: 300, byTemplate: true });
  const ids = firstDocument(corpus.trainPrefix);
  // The template's own first token is the document's start token: it is not doubled.
  expect(ids.filter((id) => id === END)).toHaveLength(3);
  expect([ids[0], ids.at(-1)]).toEqual([END, END]);
  const text = Buffer.from(ids.map((id) => (id === END ? 0x7c : id))).toString('utf8');
  expect(text).toMatch(/^\|user: \d+\? .*\|assistant: .*\|$/s);
});

it('writes them as questions and answers where the model has no template', async () => {
  const corpus = await prepare('plain', model('plain'), records('plain.jsonl'));
  expect(corpus.manifest.conversations).toEqual({ num: 300, byTemplate: false });
  const ids = firstDocument(corpus.trainPrefix);
  expect(Buffer.from(ids.slice(1, -1)).toString('utf8')).toMatch(/^Question: \d+\? .*\nAnswer: /s);
});

it('sets aside what the template refuses, with place and reason, and stops where that is more than a few', async () => {
  const bad = { messages: [{ role: 'assistant', content: 'I begin.' }] };
  const chat = model('strict', TEMPLATE);
  const file = records('refused.jsonl', [bad]);
  const corpus = await prepare('refused', chat, file);
  expect(corpus.manifest.removed.badRecords).toBe(1);
  const log = fs.readFileSync(path.join(corpus.folder, 'removed/bad-records.jsonl'), 'utf8');
  expect(JSON.parse(log)).toMatchObject({
    file: `${file}:301`,
    reason: expect.stringContaining('begin with the user'),
  });
  await expect(
    prepare(
      'many',
      chat,
      records(
        'many.jsonl',
        Array.from({ length: 9 }, () => bad),
      ),
    ),
  ).rejects.toThrow(/the model's chat template refuses 9 of 309 conversations \(at most 0\.01 of them/);
});

it('a new template is a new corpus', async () => {
  const file = records('again.jsonl');
  const first = await prepare('again', model('again', TEMPLATE), file);
  const second = await prepare('again', model('again', TEMPLATE.replace(': ', ' says ')), file);
  expect(second.reused).toBe(false);
  expect(second.folder).not.toBe(first.folder);
});

/** Text of the marked bytes; the special token is shown as "|". */
function marked(prefix: string): { text: string; answers: string } {
  const shard = openShard(prefix);
  const [first, length] = shard.documentRange(0);
  const ids = Array.from(shard.read(first, length));
  const mask = shard.readMask(first, length);
  shard.close();
  const show = (some: number[]) => Buffer.from(some.map((id) => (id === END ? 0x7c : id))).toString('utf8');
  return { text: show(ids), answers: show(ids.filter((_, i) => mask[i] === 1)) };
}

it('marks what the assistant says, and the end of the document after it', async () => {
  for (const name of ['chat', 'plain']) {
    const corpus = await prepare(name, path.join(folder, name), path.join(folder, `${name}.jsonl`));
    expect(corpus.reused).toBe(true);
    const { text, answers } = marked(corpus.trainPrefix);
    const said = /(?:assistant|Answer): ([^|]*)\|$/s.exec(text)![1]!;
    expect(said.length).toBeGreaterThan(50);
    expect(answers).toBe(`${said}|`);
  }
});

it('a mask of another length is refused, by its name', async () => {
  const corpus = await prepare('short', model('short', TEMPLATE), records('short.jsonl'));
  fs.truncateSync(`${corpus.trainPrefix}.mask`, 10);
  expect(() => openShard(corpus.trainPrefix)).toThrow(/train\.mask.*10 bytes, expected \d+, one a token/);
});

it('a job with the objective "answers" predicts what is marked, and only in phases that ask for it', async () => {
  const chat = model(
    'job',
    TEMPLATE.replace(
      "{{ '<|endoftext|>' + message['role'] + ': ' + message['content'] }}",
      "{% if message['role'] == 'assistant' %}{{ message['content'] }}{% else %}{{ message['content'] + ' => ' }}{% endif %}",
    ),
  );
  const corpus = await prepare('job', chat, records('job.jsonl'));
  const jobFolder = path.join(folder, 'job');
  const phase = { numSteps: 2, blend: { job: 1 } };
  await compileJob({
    folder: jobFolder,
    name: 'job',
    model: chat,
    precision: 'f32',
    seed: 1,
    batch: { seqLen: 256, sequencesPerStep: 2, sequencesPerMicroBatch: 1 },
    optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clipNorm: 1 },
    phases: [
      { name: 'all', firstStep: 0, ...phase },
      { name: 'answers', firstStep: 2, ...phase, objective: 'answers' },
    ],
    numSteps: 4,
    shards: [{ prefix: corpus.trainPrefix, corpus: 'job' }],
    schedule: [1, 1, 1, 1],
    checkpoint: { everySteps: 4, keep: 1 },
    evaluation: { everySteps: 4, sets: [{ name: 'job', role: 'instruction', prefix: corpus.heldOutPrefix }] },
  });
  const reader = openJob(jobFolder);
  try {
    expect(reader.job.shards[0]!.maskDigest).toMatch(/^[0-9a-f]{64}$/);
    const shown = (i: number) => {
      const { targets } = reader.sequence(i);
      let out = '';
      // A target that is not predicted is shown as "_".
      targets.forEach((target) => {
        out += target === -1 ? '_' : target === END ? '|' : String.fromCharCode(target);
      });
      return out;
    };
    for (const i of [0, 1, 2, 3]) expect(shown(i)).not.toContain('_');
    for (const i of [4, 5, 6, 7]) {
      const text = shown(i);
      expect(text).toContain('_');
      expect(text).not.toContain('? ');
      expect(text).not.toContain('=>');
    }
  } finally {
    reader.close();
  }
});
