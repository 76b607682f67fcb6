// `continuo chat`: a conversation off a pipe, its commands, two models beside each other.
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { describe, expect, test } from 'vitest';
import { Columns, wrap } from '../../src/cli/columns.ts';
import { openChat } from '../../src/pipeline/index.ts';
import { CLI, temporaryFolder } from '../engine/fixtures.ts';
import { BASE, chatModel } from '../serve/fixtures.ts';

function chat(input: string, ...args: string[]): Promise<{ code: number | null; out: string; err: string }> {
  const child = spawn(process.execPath, [CLI, 'chat', ...args, '--max-tokens', '8', '--threads', '1']);
  let [out, err] = ['', ''];
  child.stdout.on('data', (data) => (out += data));
  child.stderr.on('data', (data) => (err += data));
  child.stdin.end(input);
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err })));
}

test('a message a line; the commands', async () => {
  const model = chatModel();
  const file = path.join(temporaryFolder('chat'), 'talk.json');
  const lines = [
    '/system Be brief.',
    'Where is Berlin?',
    'And Rome?',
    '/regenerate',
    `/save ${file}`,
    '/nonsense',
    '/reset',
    '/regenerate',
    '/save',
  ];
  const { code, out, err } = await chat(`${lines.join('\n')}\n`, model, '--base', BASE);
  expect(code).toBe(0);
  const saved = JSON.parse(fs.readFileSync(file, 'utf8')) as {
    model: string;
    messages: { role: string; content: string }[];
  }[];
  expect(saved.map((one) => one.model)).toEqual([model, BASE]);
  for (const { messages } of saved) {
    expect(messages.map(({ role }) => role)).toEqual(['system', 'user', 'assistant', 'user', 'assistant']);
    expect(messages[0]!.content).toBe('Be brief.');
    for (const { content } of messages.filter(({ role }) => role === 'assistant')) expect(out).toContain(content);
  }
  expect(out.match(new RegExp(`^${BASE}:`, 'gm'))).toHaveLength(3);
  expect(err).toContain(`${BASE} has no chat template: a base model`);
  expect(err).not.toContain(`${model} has no chat template`);
  expect(err).toContain('/regenerate   another answer');
  expect(err).toContain('There is no message to answer.');
  expect(err).toContain('/save needs the name of a file.');
});

test('a conversation that outgrows the context loses its oldest turns, never the system message', async () => {
  const settings = {
    maxTokens: 2,
    sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 },
    system: 'Be brief.',
  };
  const talk = await openChat([chatModel()], settings, { threads: 1, quiet: true });
  const [side] = talk.sides;
  for (let i = 0; i < 4; i++) for await (const _ of talk.say('a long message '.repeat(45))[0]!);
  expect(side!.numForgotten).toBeGreaterThanOrEqual(2);
  expect(side!.messages[side!.numForgotten + 1]!.role).toBe('user');
  expect(side!.messages[0]).toEqual({ role: 'system', content: 'Be brief.' });
  await expect(talk.say('a long message '.repeat(400))[0]!.next()).rejects.toThrow(/no room for an answer/);
  talk.takeBack();
  expect(side!.messages.at(-1)!.role).toBe('assistant');
});

describe('columns', () => {
  test('lines break between words, long words anywhere, wide characters count twice', () => {
    expect(wrap('one two three\n\nfour', 8)).toEqual(['one two', 'three', '', 'four']);
    expect(wrap('abcdefghij k', 4)).toEqual(['abcd', 'efgh', 'ij k']);
    expect(wrap('日本語 x', 4)).toEqual(['日本', '語 x']);
  });

  test('a row is final when every column has gone beyond it', () => {
    let screen = '';
    const columns = new Columns(2, 13, (text) => (screen += text));
    // What a terminal shows: the last row is written again and again.
    const rows = () => screen.split('\n').map((row) => row.split('\r\x1b[2K').at(-1));
    columns.push(0, 'aa bb cc');
    expect(rows()).toEqual(['aa bb │']);
    columns.push(1, 'x');
    expect(rows()).toEqual(['aa bb │ x']);
    columns.end(1);
    expect(rows()).toEqual(['aa bb │ x', 'cc    │']);
    columns.push(0, ' dd ee');
    columns.end(0);
    expect(rows()).toEqual(['aa bb │ x', 'cc dd │', 'ee    │', '']);
  });
});
