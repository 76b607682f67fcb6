// continuo generate on a tiny model with a byte-level tokenizer.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeModelInto } from '../../src/checkpoint/index.ts';
import { exportTensors } from '../../src/nn/index.ts';
import { loadTokenizer } from '../../src/tokenizer/index.ts';
import { tinyConfig, tinyDecoder } from '../nn/fixtures.ts';
import { temporaryFolder } from '../runs/fixture.ts';
import { type Ran, runInProcess } from './in-process.ts';

const root = temporaryFolder();
const model = path.join(root, 'model');
const tokenizer = loadTokenizer(path.join(import.meta.dirname, '../fixtures/byte-tokenizer'));
beforeAll(() => {
  fs.mkdirSync(model);
  const decoder = tinyDecoder({ vocab_size: 257 });
  const config = { ...tinyConfig({ vocab_size: 257 }), model_type: 'llama', vocab_size: 257, eos_token_id: [0] };
  writeModelInto(model, { config, tensors: exportTensors(decoder), tokenizerFiles: tokenizer.files });
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function generate(...args: string[]): Promise<Ran> {
  return runInProcess(['generate', model, ...args]);
}

const SAMPLED = ['--temperature', '1.5', '--seed', '4', '--max-tokens', '20'];

describe('continuo generate', () => {
  test('prints the text, and its speed apart', async () => {
    const { code, out, err } = await generate('--prompt', 'abc', ...SAMPLED);
    expect(code).toBe(0);
    expect(out.length).toBeGreaterThan(10);
    expect(out.endsWith('\n')).toBe(true);
    expect(err).toMatch(/^prompt of 4 tokens at [\d.e+]+ tokens\/s; 20 tokens at [\d.e+]+ tokens\/s; ended at/);
  });

  test('--json holds the same text, --prompt-file the same prompt', async () => {
    const { out } = await generate('--prompt', 'abc', ...SAMPLED, '--quiet');
    fs.writeFileSync(path.join(root, 'prompt.txt'), 'abc');
    const { out: text, err } = await generate('--prompt-file', path.join(root, 'prompt.txt'), ...SAMPLED, '--json');
    expect(err).toBe('');
    const result = JSON.parse(text);
    expect(result).toMatchObject({ numPromptTokens: 4, numTokens: 20, finishReason: 'length', precision: 'f32' });
    expect(`${result.text}\n`).toBe(out);
  });

  test('--stop ends before a text', async () => {
    const { text } = JSON.parse((await generate('--prompt', 'abc', ...SAMPLED, '--json')).out);
    const stop = text.slice(4, 6);
    const stopped = JSON.parse((await generate('--prompt', 'abc', ...SAMPLED, '--stop', stop, '--json')).out);
    expect(stopped).toMatchObject({ text: text.slice(0, text.indexOf(stop)), finishReason: 'stop' });
  });

  test.each([
    [[], 'give the prompt as --prompt TEXT or --prompt-file FILE, one of them.'],
    [['--prompt', 'a', '--prompt-file', 'b'], 'give the prompt as --prompt TEXT or --prompt-file FILE, one of them.'],
    [['--prompt-file', 'nowhere.txt'], 'nowhere.txt: no such file or folder (while reading the prompt)'],
    [['--prompt', 'a', '--top-p', '2'], 'top-p: expected a number above 0, at most 1, found 2.'],
    [['--prompt', 'a', '--chat'], 'The tokenizer has no chat template'],
    [['--prompt', 'a'.repeat(80)], "the prompt has 81 tokens, the model's context 64"],
  ])('%j is refused', async (args, message) => {
    const { code, out, err } = await generate(...args);
    expect(code).toBe(2);
    expect(out).toBe('');
    expect(err).toContain(message);
  });
});
