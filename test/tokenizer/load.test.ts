// Opening tokenizers from folders, GGUF metadata and training; the roles of special tokens; chat templates.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ConfigError, DataError } from '../../src/base/errors.ts';
import { Rng } from '../../src/base/rng.ts';
import {
  encodeConversation,
  loadTokenizer,
  renderChat,
  tokenizerFromGguf,
  tokenizerFromJson,
  trainBpe,
} from '../../src/tokenizer/index.ts';
import { type Fixture, readFixture, texts } from './fixtures.ts';

const root = fs.mkdtempSync(path.join(os.tmpdir(), 'tokenizer-'));
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

let numFolders = 0;
function folderOf(files: Record<string, unknown>): string {
  const folder = path.join(root, String(numFolders++));
  fs.mkdirSync(folder);
  for (const [name, content] of Object.entries(files))
    fs.writeFileSync(path.join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  return folder;
}

/** Tokens in the order of their ids. (Object.keys would put "0" to "9" first.) */
function tokensOf(fixture: Fixture): string[] {
  const entries = Object.entries(fixture.tokenizer.model.vocab).sort((a, b) => a[1] - b[1]);
  return entries.map(([token]) => token);
}

const smollm = readFixture('smollm');
const gpt2 = readFixture('gpt2');

function bosTemplate(token: string, id: number) {
  const single = [{ SpecialToken: { id: token, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }];
  return {
    type: 'TemplateProcessing',
    single,
    pair: single,
    special_tokens: { [token]: { id: token, ids: [id], tokens: [token] } },
  };
}

describe('a model folder', () => {
  it('opens tokenizer.json with its configuration and template', () => {
    const folder = folderOf({
      'tokenizer.json': smollm.tokenizer,
      'tokenizer_config.json': {
        bos_token: '<|im_start|>',
        eos_token: { content: '<|im_end|>' },
        chat_template: 'old',
      },
      'special_tokens_map.json': { eos_token: '<|endoftext|>', pad_token: '<|im_end|>' },
      'chat_template.jinja': '{{ messages[0].content }}',
    });
    const tokenizer = loadTokenizer(folder);
    expect(tokenizer).toMatchObject({
      engine: 'continuo',
      vocabSize: 520,
      bosToken: '<|im_start|>',
      eosToken: '<|im_end|>',
      documentStart: 0,
      documentEnd: 0,
      chatTemplate: '{{ messages[0].content }}',
    });
    const again = tokenizerFromJson(tokenizer.files['tokenizer.json'], tokenizer.files['tokenizer_config.json']);
    expect(again.encode('the quick brown fox')).toEqual(tokenizer.encode('the quick brown fox'));
    expect(again.chatTemplate).toBe('{{ messages[0].content }}');
  });

  it('opens vocab.json with merges.txt as GPT-2 does', () => {
    const { vocab, merges } = gpt2.tokenizer.model;
    const folder = folderOf({
      'vocab.json': vocab,
      'merges.txt': `#version: 0.2\n${merges.map((merge) => merge.join(' ')).join('\n')}\n`,
    });
    const tokenizer = loadTokenizer(folder);
    texts.forEach((text, i) => {
      expect(tokenizer.encode(text)).toEqual(gpt2.plain[i]);
      expect(tokenizer.encode(text, { parseSpecial: true })).toEqual(gpt2.parsed[i] ?? gpt2.plain[i]);
    });
    expect(tokenizer.documentEnd).toBe(0);
  });

  it('says what is missing', () => {
    expect(() => loadTokenizer(folderOf({ 'tokenizer.model': 'x' }))).toThrow(
      /found only tokenizer\.model.*save_pretrained/,
    );
    expect(() => loadTokenizer(folderOf({}))).toThrow(/no tokenizer file at all/);
    expect(() => loadTokenizer(path.join(root, 'absent'))).toThrow(/no such folder/);
    expect(() => loadTokenizer(folderOf({ 'tokenizer.json': '{' }))).toThrow(DataError);
    expect(() => loadTokenizer(folderOf({ 'tokenizer.json': {} }))).toThrow(/"model" is missing/);
  });

  it('refuses merges that belong to another vocabulary', () => {
    const model = { ...smollm.tokenizer.model, merges: [['Ġ', 'nowhere']] };
    expect(() => tokenizerFromJson({ ...smollm.tokenizer, model }, {})).toThrow(/"nowhere" is not in the vocabulary/);
  });
});

describe('where a document starts and ends', () => {
  const open = (config: Record<string, unknown>, json: Partial<Fixture['tokenizer']> = {}) =>
    tokenizerFromJson({ ...smollm.tokenizer, ...json }, config);

  it('starts with BOS only where the tokenizer itself adds one', () => {
    const bos = { bos_token: '<|im_start|>' };
    expect(open(bos).documentStart).toBe(0);
    expect(open({ ...bos, add_bos_token: true }).documentStart).toBe(1);
    expect(open(bos, { post_processor: bosTemplate('<|im_start|>', 1) }).documentStart).toBe(1);
    const nested = { type: 'Sequence', processors: [{ type: 'ByteLevel' }, bosTemplate('<|im_start|>', 1)] };
    expect(open(bos, { post_processor: nested }).documentStart).toBe(1);
    expect(open({ ...bos, add_bos_token: false }, { post_processor: nested }).documentStart).toBe(0);
  });

  it('knows what the tokenizer puts around a text', () => {
    const tokens = { bos_token: '<|im_start|>', eos_token: '<|im_end|>' };
    const template = bosTemplate('<|im_start|>', 1);
    expect(open(tokens).frame).toEqual({ before: [], after: [] });
    expect(open(tokens, { post_processor: template }).frame).toEqual({ before: [1], after: [] });
    const closed = { ...template, single: [...template.single, { SpecialToken: { id: '<|im_end|>', type_id: 0 } }] };
    expect(open(tokens, { post_processor: closed }).frame).toEqual({ before: [1], after: [2] });
    // One switch is there: both decide, and the post-processor does not.
    expect(open({ ...tokens, add_eos_token: true }, { post_processor: template }).frame).toEqual({
      before: [],
      after: [2],
    });
  });

  it('ends with the separator of pretraining, not with the end of a chat turn', () => {
    expect(open({ eos_token: '<|im_end|>' }).documentEnd).toBe(0);
  });

  it('ends with EOS where there is no separator', () => {
    const added = (smollm.tokenizer.added_tokens as { content: string }[]).filter((t) => t.content !== '<|endoftext|>');
    const { '<|endoftext|>': _gone, ...vocab } = smollm.tokenizer.model.vocab;
    const json = { added_tokens: added, model: { ...smollm.tokenizer.model, vocab } };
    expect(open({ eos_token: '<|im_end|>' }, json).documentEnd).toBe(2);
    expect(() => open({}, json)).toThrow(/no token can end a document.*no eos_token is named/);
    expect(() => open({ eos_token: '<eot>' }, json)).toThrow(/the eos_token "<eot>" is not either/);
  });
});

describe('GGUF metadata', () => {
  const { merges } = smollm.tokenizer.model;
  const metadata = {
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': 'smollm',
    'tokenizer.ggml.tokens': tokensOf(smollm),
    'tokenizer.ggml.merges': merges.map((merge) => merge.join(' ')),
    'tokenizer.ggml.token_type': Int32Array.from(tokensOf(smollm), (_, id) => (id < 3 ? 3 : 1)),
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    'tokenizer.ggml.add_bos_token': false,
    'tokenizer.chat_template': '{{ bos_token }}',
  };

  it('gives back the tokenizer that it was made from', () => {
    const tokenizer = tokenizerFromGguf(metadata);
    expect(tokenizer).toMatchObject({
      bosToken: '<|im_start|>',
      eosToken: '<|im_end|>',
      documentStart: 0,
      documentEnd: 0,
    });
    expect(tokenizer).toMatchObject({ vocabSize: 520, chatTemplate: '{{ bos_token }}', engine: 'continuo' });
    texts.forEach((text, i) => {
      expect(tokenizer.encode(text)).toEqual(smollm.plain[i]);
      expect(tokenizer.encode(text, { parseSpecial: true })).toEqual(smollm.parsed[i] ?? smollm.plain[i]);
    });
  });

  it.each(['gpt2:gpt-2', 'llama3:dbrx', 'qwen2:stablelm2', 'llama3-ignore-merges:llama-bpe', 'o200k-removed:gpt-4o'])(
    'knows the pre-tokenizer of %s',
    (pair) => {
      const [name, pre] = pair.split(':') as [string, string];
      const fixture = readFixture(name);
      const tokenizer = tokenizerFromGguf({
        ...metadata,
        'tokenizer.ggml.pre': pre,
        'tokenizer.ggml.tokens': tokensOf(fixture),
        'tokenizer.ggml.token_type': tokensOf(fixture).map((_, id) => (id < 3 ? 3 : 1)),
        'tokenizer.ggml.merges': fixture.tokenizer.model.merges.map((merge) => merge.join(' ')),
      });
      texts.forEach((text, i) => {
        // Qwen2's file also normalises to NFC, which GGUF does not record.
        if (name === 'qwen2' && text !== text.normalize('NFC')) return;
        expect({ text, ids: tokenizer.encode(text) }).toEqual({ text, ids: fixture.plain[i] });
      });
    },
  );

  it('puts BOS in front where the file or the family says so', () => {
    expect(tokenizerFromGguf({ ...metadata, 'tokenizer.ggml.add_bos_token': true }).documentStart).toBe(1);
    const { 'tokenizer.ggml.add_bos_token': _unset, ...rest } = metadata;
    expect(tokenizerFromGguf(rest).documentStart).toBe(0);
    expect(tokenizerFromGguf({ ...rest, 'tokenizer.ggml.pre': 'llama-bpe' }).documentStart).toBe(1);
  });

  it('drops unused padding at the end and keeps added tokens there', () => {
    const tokenizer = tokenizerFromGguf({
      ...metadata,
      'tokenizer.ggml.tokens': [...tokensOf(smollm), '<|tool|>', '[PAD521]'],
      'tokenizer.ggml.token_type': [...metadata['tokenizer.ggml.token_type'], 4, 5],
    });
    expect(tokenizer.vocabSize).toBe(521);
    expect(tokenizer.encode('the<|tool|>').at(-1)).toBe(520);
    expect(tokenizer.tokenToId('[PAD521]')).toBeUndefined();
  });

  it('names an unknown pre-tokenizer and the known ones', () => {
    const open = () => tokenizerFromGguf({ ...metadata, 'tokenizer.ggml.pre': 'smolm' });
    expect(open).toThrow(ConfigError);
    expect(open).toThrow(/"smolm".*did you mean "smollm"\?.*Known: default, gpt-2/);
    expect(() => tokenizerFromGguf({ ...metadata, 'tokenizer.ggml.model': 'bert' })).toThrow(/"bert"; expected "gpt2"/);
    expect(() => tokenizerFromGguf({ ...metadata, 'tokenizer.ggml.merges': undefined })).toThrow(
      /tokenizer\.ggml\.merges is missing/,
    );
  });

  it('derives the merges of a SentencePiece vocabulary from its scores', () => {
    const spm = readFixture<{
      tokens: string[];
      scores: number[];
      types: number[];
      merges: [string, string][];
      texts: string[];
      ids: number[][];
    }>('gguf-llama');
    const tokenizer = tokenizerFromGguf({
      'tokenizer.ggml.model': 'llama',
      'tokenizer.ggml.tokens': spm.tokens,
      'tokenizer.ggml.scores': Float32Array.from(spm.scores),
      'tokenizer.ggml.token_type': spm.types,
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.unknown_token_id': 0,
    });
    const model = tokenizer.files['tokenizer.json'].model as { merges: [string, string][] };
    expect(model.merges).toEqual(spm.merges);
    spm.texts.forEach((text, i) => {
      expect(tokenizer.encode(text)).toEqual(spm.ids[i]);
      expect(tokenizer.decode(spm.ids[i])).toBe(text);
    });
    expect(tokenizer).toMatchObject({ documentStart: 1, documentEnd: 2, engine: 'continuo' });
  });
});

describe('training', () => {
  const training = readFixture<{
    texts: string[];
    specialTokens: string[];
    expected: Record<string, { vocabSize: number; merges: string[] }>;
  }>('training');
  const train = (name: string, more: object = {}) => {
    const options = name === 'llama3' ? { pattern: 'llama3' as const } : { digits: name === 'gpt2-digits' };
    const { specialTokens } = training;
    return trainBpe(training.texts, {
      vocabSize: training.expected[name].vocabSize,
      specialTokens,
      ...options,
      ...more,
    });
  };

  it.each(['gpt2', 'gpt2-digits', 'llama3'])("%s: the merges of Hugging Face's trainer", (name) => {
    const files = train(name);
    const model = files['tokenizer.json'].model as { merges: string[]; vocab: Record<string, number> };
    expect(model.merges).toEqual(training.expected[name].merges);
    expect(Object.keys(model.vocab)).toHaveLength(training.expected[name].vocabSize);
    expect(model.vocab['<|endoftext|>']).toBe(0);
    const tokenizer = tokenizerFromJson(files['tokenizer.json'], files['tokenizer_config.json']);
    expect(tokenizer).toMatchObject({ vocabSize: 420, documentStart: 0, documentEnd: 0, engine: 'continuo' });
    for (const text of texts) expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it('puts <|endoftext|> first whatever the order', () => {
    const files = train('gpt2', { specialTokens: ['<|im_start|>', '<|endoftext|>'], vocabSize: 300 });
    const { vocab } = files['tokenizer.json'].model as { vocab: Record<string, number> };
    expect([vocab['<|endoftext|>'], vocab['<|im_start|>']]).toEqual([0, 1]);
  });

  it('explains a size that cannot be had', () => {
    expect(() => trainBpe(['ab'], { vocabSize: 300, specialTokens: [] })).toThrow(/allow a vocabulary of 258, but 300/);
    expect(() => trainBpe(['ab'], { vocabSize: 200, specialTokens: [] })).toThrow(/at least 257/);
    expect(() => train('gpt2', { specialTokens: ['<a>', '<a>'] })).toThrow(/distinct/);
    expect(() => train('llama3', { digits: true })).toThrow(/its own rule for digits/);
  });

  it('takes a long word without spaces in its stride', () => {
    const started = performance.now();
    const rng = new Rng(1, 'long word');
    const long = Array.from({ length: 200_000 }, () => 'abcdefgh'[rng.below(8)]).join('');
    const files = trainBpe([long], { vocabSize: 1000, specialTokens: [] });
    expect(Object.keys((files['tokenizer.json'].model as { vocab: object }).vocab)).toHaveLength(1000);
    expect(performance.now() - started).toBeLessThan(20_000);
  });
});

describe('chat', () => {
  const template =
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ bos_token + 'system\nBe kind.' + eos_token + '\n' }}" +
    "{% endif %}{{ bos_token + message['role'] + '\n' + message['content'] + eos_token + '\n' }}{% endfor %}" +
    "{% if add_generation_prompt %}{{ bos_token + 'assistant\n' }}{% endif %}";
  const config = { bos_token: '<|im_start|>', eos_token: '<|im_end|>', chat_template: template };
  const tokenizer = tokenizerFromJson(smollm.tokenizer, config);

  it("renders by the model's template", () => {
    const messages = [{ role: 'user' as const, content: 'Hi <|im_end|>' }];
    const opening = '<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi <|im_end|><|im_end|>\n';
    expect(renderChat(tokenizer, messages, { addGenerationPrompt: false })).toBe(opening);
    expect(renderChat(tokenizer, messages, { addGenerationPrompt: true })).toBe(`${opening}<|im_start|>assistant\n`);
  });

  it('encodes a conversation as a whole, and marks what the assistant says with the end of its turn', () => {
    const messages = [
      { role: 'user' as const, content: 'Hi there' },
      { role: 'assistant' as const, content: 'Hello.' },
      { role: 'user' as const, content: 'And?' },
      { role: 'assistant' as const, content: 'More.' },
    ];
    const { ids, answers } = encodeConversation(tokenizer, messages);
    const text = renderChat(tokenizer, messages, { addGenerationPrompt: false });
    // This model begins its documents with the token that its template begins with.
    const whole = tokenizer.encode(text, { parseSpecial: true });
    expect(ids).toEqual(whole[0] === tokenizer.documentStart ? whole.slice(1) : whole);
    expect(answers).toHaveLength(ids.length);
    const said = tokenizer.decode(ids.filter((_, i) => answers[i] === 1));
    expect(said).toBe('Hello.<|im_end|>\nMore.<|im_end|>\n');
  });

  it('finds what was said where a template writes a turn otherwise once more follows', () => {
    const forgetful =
      "{% for m in messages %}{{ '[' + m['role'] + '] ' + (m['content'] if loop.last else m['content'] | replace('#', '')) }}{% endfor %}";
    const own = tokenizerFromJson(smollm.tokenizer, { ...config, chat_template: forgetful });
    const { ids, answers } = encodeConversation(own, [
      { role: 'user', content: 'A#' },
      { role: 'assistant', content: 'one' },
      { role: 'user', content: 'B' },
      { role: 'assistant', content: 'two' },
    ]);
    const said = own.decode(ids.filter((_, i) => answers[i] === 1));
    expect(said.replaceAll(/[\s\]]/g, '')).toBe('onetwo');
  });

  it('takes the default of several templates', () => {
    const several = [
      { name: 'tool_use', template: 'tools' },
      { name: 'default', template: 'plain {{ strftime_now("%Y") | length }}' },
    ];
    const named = tokenizerFromJson(smollm.tokenizer, { ...config, chat_template: several });
    expect(renderChat(named, [], { addGenerationPrompt: false })).toBe('plain 4');
  });

  it('explains a missing template and a refusal', () => {
    const bare = tokenizerFromJson(smollm.tokenizer, {});
    expect(() => renderChat(bare, [], { addGenerationPrompt: true })).toThrow(/no chat template.*chat_template\.jinja/);
    const strict = tokenizerFromJson(smollm.tokenizer, {
      chat_template: "{{ raise_exception('System role not supported') }}",
    });
    const messages = [{ role: 'system' as const, content: 'x' }];
    const render = () => renderChat(strict, messages, { addGenerationPrompt: true });
    expect(render).toThrow(ConfigError);
    expect(render).toThrow(/\(roles: system\): System role not supported/);
    const broken = tokenizerFromJson(smollm.tokenizer, { chat_template: '{% for %}' });
    expect(() => renderChat(broken, messages, { addGenerationPrompt: true })).toThrow(ConfigError);
  });
});
