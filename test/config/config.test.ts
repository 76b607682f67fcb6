import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig, parseConfig, renderConfig, writeConfig } from '../../src/config/index.ts';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-config-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function parse(text: string) {
  return parseConfig(text, path.join(folder, 'continuo.yaml'));
}

/** The message, with the temporary folder cut out. */
function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    expect((error as Error).name).toBe('ConfigError');
    return (error as Error).message.replaceAll(`${folder}/`, '');
  }
  throw new Error('was accepted');
}

const MINIMAL = `model: owner/name
corpora:
  handbook: { path: docs, role: domain }
budget: { tokens: 20M }
`;

describe('what is accepted', () => {
  it('fills what does not need the model or the data, and leaves the rest to the planner', () => {
    const config = parse(MINIMAL);
    expect(config.name).toBe(path.basename(folder));
    expect(config.model).toEqual({ kind: 'hub', id: 'owner/name' });
    expect(config.corpora).toEqual([
      { name: 'handbook', paths: [path.join(folder, 'docs')], limitTokens: undefined, role: 'domain' },
    ]);
    expect(config.recipe).toEqual({ preset: 'reuse-dont-retrain', options: {}, isDefault: true });
    expect(config.budget).toEqual({ kind: 'tokens', tokens: 20_000_000 });
    expect(config.output).toBe(path.join(folder, 'runs'));
    expect(config.training).toEqual({});
    expect(config.evaluate.everySteps).toBeUndefined();
  });

  it('reads every key', () => {
    const config = parse(`name: demo
model: { new: { hidden: 256, layers: 8, heads: 4, kvHeads: 2, ffn: 704, context: 512, vocab: 8192, tokenizer: tok.json } }
corpora:
  a: { path: ["x/*.md", "hub://owner/set/*.parquet"], role: general, limit: 50M tokens, field: body, weight: 2, maxBadShare: 0.1, maxRecordBytes: 512M,
       heldOut: { share: 0.05, documents: 20, tokens: 10k tokens } }
recipe: { preset: from-scratch, peakLr: 2e-3, finalLr: 2e-4, warmup: 0.02, blend: { a: 1 } }
budget: { epochs: 2.5 }
training: { seqLen: 512, batchTokens: 32k, microBatch: 8, precision: f32, seed: 7, weightDecay: 0, beta1: 0.9, beta2: 0.95, eps: 1e-8, clip: 1, threads: 2 }
evaluate: { every: 100 steps, tokens: 100k }
checkpoints: { every: 50, keep: 3 }
engine: native
output: ../out
`);
    expect(config.corpora[0]!.maxRecordBytes).toBe(512e6);
    expect(config.model).toEqual({
      kind: 'new',
      new: {
        ...{ hidden: 256, layers: 8, heads: 4, kvHeads: 2, headDim: 64, ffn: 704, context: 512, vocab: 8192 },
        ...{ ropeTheta: 10000, tied: true, tokenizer: path.join(folder, 'tok.json') },
      },
    });
    expect(config.corpora[0]).toMatchObject({
      paths: [path.join(folder, 'x/*.md'), 'hub://owner/set/*.parquet'],
      limitTokens: 50e6,
      heldOut: { share: 0.05, documents: 20, tokens: 10_000 },
    });
    expect(config.recipe).toMatchObject({
      preset: 'from-scratch',
      options: { peakLr: 0.002, blend: { a: 1 } },
      isDefault: false,
    });
    expect(config.training.batchTokens).toBe(32_000);
    expect(config.evaluate).toEqual({ everySteps: 100, tokensPerSet: 100_000 });
    expect(config.output).toBe(path.join(path.dirname(folder), 'out'));
  });

  it('takes an existing folder for a path even where it looks like a hub id', () => {
    fs.mkdirSync(path.join(folder, 'owner', 'name'), { recursive: true });
    expect(parse(MINIMAL).model).toEqual({ kind: 'path', path: path.join(folder, 'owner', 'name') });
  });

  it('takes a corpus name that is also a property of every object', () => {
    expect(parse(MINIMAL.replace('handbook', 'constructor')).corpora[0]!.name).toBe('constructor');
  });

  it('does not interpolate the environment', () => {
    expect(parse(MINIMAL.replace('docs', '"$HOME/docs"')).corpora[0]!.paths).toEqual([path.join(folder, '$HOME/docs')]);
  });

  it('makes a usable run name of any folder name', () => {
    const odd = path.join(folder, '.my docs (v2)');
    fs.mkdirSync(odd);
    expect(parseConfig(MINIMAL, path.join(odd, 'c.yaml')).name).toBe('my-docs-v2-');
  });
});

describe('what is refused, and how', () => {
  it('names place and nearest known key', () => {
    expect(refusal(MINIMAL.replace('corpora', 'corpra'))).toBe(
      [
        'continuo.yaml:1:1: corpora: missing: expected a map from corpus name to { path, role }.',
        'continuo.yaml:2:1: corpra: unknown key: did you mean "corpora"? known here: name, model, corpora, dedup, decontaminate, recipe, mixing, budget, training, guard, evaluate, checkpoints, alarms, engine, output.',
        '2 problems. Correct these places and run the same command again.',
      ].join('\n'),
    );
  });

  it('points at a value deep inside, with expected and found', () => {
    expect(refusal(MINIMAL.replace('role: domain', 'role: domian'))).toBe(
      'continuo.yaml:3:33: corpora.handbook.role: expected one of domain, general, instruction, evaluation, found "domian".',
    );
    expect(refusal(MINIMAL.replace('20M', 'lots'))).toBe(
      'continuo.yaml:4:19: budget.tokens: expected a count of tokens such as 300000, 20k or "1.5M tokens", found "lots".',
    );
    expect(refusal(MINIMAL.replace('path: docs', 'path: [docs, 3]'))).toContain(
      'continuo.yaml:3:28: corpora.handbook.path.1: expected a path, a glob such as "docs/**/*.md", or a list of them, found 3.',
    );
  });

  it('takes found where probes can find a value, and nothing like it', () => {
    const recipe = (text: string) => `${MINIMAL}\nrecipe: ${text}\n`;
    const both = parse(recipe('{ preset: reuse-dont-retrain, peakLr: found, replay: found }')).recipe;
    expect(both).toEqual({
      ...{ preset: 'reuse-dont-retrain', options: {}, isDefault: false },
      asksFound: ['peakLr', 'replay'],
    });
    expect(refusal(recipe('{ preset: reuse-dont-retrain, peakLr: fond }'))).toContain(
      'recipe.peakLr: expected a number above 0, or found (by continuo plan --find-lr), found "fond".',
    );
    expect(refusal(recipe('{ preset: naive, peakLr: found }'))).toContain('recipe.peakLr: expected a number above 0');
  });

  it('lists all problems, in the order of the file', () => {
    const message = refusal(`model: 5
corpora:
  a: { path: x, role: domain, wieght: 1 }
  b: { role: general }
budget: { tokens: 1M }
training: { beta1: 1.5, precision: fp8 }
`);
    expect(message.split('\n').map((line) => line.split(' ')[0])).toEqual([
      'continuo.yaml:1:8:',
      'continuo.yaml:3:31:',
      'continuo.yaml:4:6:',
      'continuo.yaml:6:20:',
      'continuo.yaml:6:36:',
      '5',
    ]);
    expect(message).toContain('did you mean "weight"?');
    expect(message).toContain('corpora.b.path: missing');
  });

  it('refuses a key that stands twice', () => {
    expect(refusal(`${MINIMAL}model: other/one\n`)).toBe(
      'continuo.yaml:5:1: this key stands here twice; keep one of them.',
    );
  });

  it('refuses broken YAML, an empty file and a list', () => {
    expect(refusal('model: [a, b\nbudget: 3')).toMatch(/^continuo\.yaml:2:1: not valid YAML: /);
    expect(refusal('# nothing\n')).toBe(
      'continuo.yaml:1:1: the file is empty: expected the keys model, corpora and budget.',
    );
    expect(refusal('- a\n- b\n')).toBe('continuo.yaml:1:1: not a map: expected the keys model, corpora and budget.');
    expect(refusal(MINIMAL.replace('docs', '!!js/function x'))).toContain(
      'continuo.yaml:3:21: not valid YAML: Unresolved tag',
    );
  });

  it('knows presets that exist, that are planned, and that are misspelt', () => {
    expect(refusal(`${MINIMAL}recipe: long-context\n`)).toContain(
      'needs what this version does not have: the change of the position embedding, and attention across documents',
    );
    expect(refusal(`${MINIMAL}recipe: reuse-dont-retain\n`)).toBe(
      'continuo.yaml:5:9: recipe: expected one of reuse-dont-retrain, domain-adaptation, instruct-domain, rewarm-replay, infinite-lr, custom, naive, from-scratch (did you mean "reuse-dont-retrain"?), found "reuse-dont-retain".',
    );
    expect(refusal(`${MINIMAL}recipe: { preset: nope, peakLr: 1 }\n`)).toContain(
      'continuo.yaml:5:19: recipe.preset: expected one of',
    );
    expect(refusal(`${MINIMAL}recipe: { peakLr: 1 }\n`)).toContain('recipe.preset: missing');
  });

  it("names the preset's own options", () => {
    expect(refusal(`${MINIMAL}recipe: { preset: naive, replay: 0.1 }\n`)).toBe(
      'continuo.yaml:5:26: recipe.replay: unknown key: known here: peakLr, maxEpochs, weightsBy, sampling, replayTokens, baseScores.',
    );
    expect(refusal(`${MINIMAL}recipe: { preset: reuse-dont-retrain, replay: 25 }\n`)).toBe(
      'continuo.yaml:5:47: recipe.replay: expected a share from 0 to below 1, or { first: 0.25, second: 0.2 }, found 25.',
    );
    expect(refusal(`${MINIMAL}recipe: { preset: reuse-dont-retrain, secondBlend: { web: 1 } }\n`)).toBe(
      'continuo.yaml:5:54: recipe.secondBlend.web: no such corpus to train on; there are handbook.',
    );
  });

  it('checks what needs several keys', () => {
    expect(refusal(MINIMAL.replace('tokens: 20M', 'tokens: 20M, steps: 5'))).toBe(
      'continuo.yaml:4:9: budget: expected exactly one of tokens, epochs, steps and minutes, found tokens and steps.',
    );
    expect(refusal(MINIMAL.replace('role: domain', 'role: evaluation'))).toContain('at least one corpus with the role');
    expect(refusal(MINIMAL.replace('owner/name', './nowhere'))).toBe(
      'continuo.yaml:1:8: model: expected an existing folder or .gguf file, or a hub id such as owner/name, found "./nowhere" (nowhere does not exist).',
    );
    expect(refusal(`${MINIMAL}training: { lora: { rank: 0 } }\n`)).toContain(
      'training.lora.rank: expected a whole number',
    );
    expect(refusal(`${MINIMAL}training: { lora: high }\n`)).toContain('training.lora: expected a rank such as 16, or');
    expect(refusal(`${MINIMAL}training: { freeze: lm_head }\n`)).toContain(
      'training.freeze: expected a list of patterns of names of tensors such as',
    );
    expect(refusal(`${MINIMAL}training: { lora: 4, freeze: [lm_head] }\n`)).toMatch(
      /:\d+:\d+: training\.freeze: adapters leave all of the model's own weights as they are already/,
    );
    const guarded = (guard: string, more = '') => refusal(`${MINIMAL}${more}guard: ${guard}\n`);
    expect(guarded('{ ewc: { strength: 1 } }')).toMatch(/:5:15: guard\.ewc: .*expected a corpus with role: general/);
    expect(guarded('{ l2: { toward: zero } }')).toContain('guard.l2.toward: expected one of base, init, found "zero"');
    expect(guarded('{ l2: { toward: base } }', 'training: { lora: 8 }\n')).toMatch(
      /:6:14: guard\.l2: holds all weights near where they were, but under training\.lora/,
    );
    const general = MINIMAL.replace('budget', '  web: { path: web, role: general }\nbudget');
    expect(refusal(`${general}guard: { ewc: { decay: 0.5 }, l2: { toward: init } }\n`)).toMatch(
      /guard\.ewc\.decay: is the share of an earlier Fisher(.|\n)*guard\.l2\.toward: expected base beside guard\.ewc, found init/,
    );
    expect(parse(`${general}guard: { ewc: { previous: runs/first, per: batch } }\n`).guard).toEqual({
      ewc: { previous: path.join(folder, 'runs/first'), per: 'batch' },
    });
    expect(refusal(`${general}engine: torch\nguard: { l2: { toward: init } }\n`)).toMatch(
      /guard\.l2\.toward: the engine torch does not do this yet/,
    );
    const recomputed = (how: string) =>
      parse(`${MINIMAL}engine: torch\ntraining: { recompute: ${how} }\n`).training.recompute;
    expect(['none', 'selective', 'full', 'false', 'true'].map(recomputed)).toEqual([
      false,
      'selective',
      true,
      false,
      true,
    ]);
    expect(refusal(`${MINIMAL}training: { recompute: selective }\n`)).toMatch(
      /:\d+:\d+: training\.recompute: selective is of the engine torch/,
    );
    expect(refusal(`${MINIMAL}training: { recompute: some }\n`)).toContain('expected one of none, selective, full');
    const adapted = parse(`${general}engine: torch\ntraining: { lora: 8 }\nguard: { distill: { on: all } }\n`);
    expect(adapted.engine).toMatchObject({ name: 'torch', gpus: 1 });
    expect(refusal(`${MINIMAL}recipe: from-scratch\n`)).toContain('from-scratch needs model: { new: ... }');
    const fresh = 'model: { new: { hidden: 100, layers: 2, heads: 8, kvHeads: 3, ffn: 64, context: 64, vocab: 300 } }';
    const message = refusal(`${MINIMAL.replace('model: owner/name', fresh)}recipe: naive\n`);
    expect(message).toContain('1:48: model.new.heads: hidden / heads must be an even whole number, found 100 / 8');
    expect(message).toContain('model.new.kvHeads: expected a divisor of heads (8), found 3');
    expect(message).toContain('naive continues a trained model');
    expect(refusal(MINIMAL.replace('}', '}\n  more: { path: x, role: domain, weight: 1 }'))).toContain(
      'continuo.yaml:3:3: corpora.handbook: has no weight, while another domain corpus has one',
    );
    expect(refusal(MINIMAL.replace('handbook', '../up'))).toContain('corpora.../up: expected a corpus name of letters');
  });

  it('refuses a count in the wrong unit', () => {
    expect(refusal(`${MINIMAL}evaluate: { every: 100 tokens }\n`)).toContain(
      'evaluate.every: expected a count of steps',
    );
    expect(refusal(MINIMAL.replace('20M', '20M steps'))).toContain('budget.tokens: expected a count of tokens');
    expect(refusal(MINIMAL.replace('20M', '0'))).toContain('found 0');
  });

  it('refuses aliases that name nothing or explode', () => {
    expect(refusal(MINIMAL.replace('docs', '*nothing'))).toMatch(/not valid YAML: .*nothing/);
    const bomb = Array.from(
      { length: 30 },
      (_, i) => `b${i}: &b${i} [${i === 0 ? '1' : `*b${i - 1}, *b${i - 1}, *b${i - 1}`}]`,
    );
    expect(refusal(`${MINIMAL}${bomb.join('\n')}\n`)).toMatch(/continuo\.yaml:/);
  });

  it('answers any damaged file with a configuration or a ConfigError with a place', () => {
    const whole = `${MINIMAL}recipe: { preset: reuse-dont-retrain, replay: { first: 0.2, second: 0.1 } }\ntraining: { seqLen: 512 }\n`;
    const edit = fc.record({ at: fc.nat(whole.length), remove: fc.nat(12), insert: fc.string({ maxLength: 6 }) });
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 3 }), (edits) => {
        let text = whole;
        for (const { at, remove, insert } of edits) text = text.slice(0, at) + insert + text.slice(at + remove);
        try {
          expect(parse(text).corpora.length).toBeGreaterThan(0);
        } catch (error) {
          expect((error as Error).name, (error as Error).stack).toBe('ConfigError');
          expect((error as Error).message).toMatch(/continuo\.yaml:\d+:\d+: /);
        }
      }),
      { numRuns: 400 },
    );
  });

  it('names a file that is not there', () => {
    expect(() => loadConfig(path.join(folder, 'absent.yaml'))).toThrow(
      /absent\.yaml: no such file or folder \(while reading the configuration\)/,
    );
  });
});

describe('writing one', () => {
  const answers = {
    name: 'kernel',
    model: 'owner/name',
    corpora: [
      { name: 'kernel-docs', path: 'docs/**/*.rst', role: 'domain' as const },
      { name: 'web', path: ['a b/*.jsonl', 'c: d/*'], role: 'general' as const, limit: '50M tokens', field: 'body' },
    ],
    budget: { tokens: '20M' },
  };

  it('can be read back as what was answered', () => {
    const file = path.join(folder, 'continuo.yaml');
    writeConfig(answers, file);
    const config = loadConfig(file);
    expect(config.name).toBe('kernel');
    expect(config.corpora.map((corpus) => corpus.name)).toEqual(['kernel-docs', 'web']);
    expect(config.corpora[1]).toMatchObject({
      paths: [path.join(folder, 'a b/*.jsonl'), path.join(folder, 'c: d/*')],
      limitTokens: 50e6,
      field: 'body',
    });
    expect(config.budget).toEqual({ kind: 'tokens', tokens: 20e6 });
  });

  it('does not overwrite, and writes nothing that it would refuse to read', () => {
    const file = path.join(folder, 'continuo.yaml');
    fs.writeFileSync(file, 'mine');
    expect(() => writeConfig(answers, file)).toThrow(/exists already/);
    expect(() => writeConfig({ ...answers, recipe: 'nope' }, file, { overwrite: true })).toThrow(/expected one of/);
    expect(fs.readFileSync(file, 'utf8')).toBe('mine');
  });

  it('says what a missing general corpus costs', () => {
    expect(renderConfig({ ...answers, corpora: answers.corpora.slice(0, 1) })).toContain('Without general text');
    expect(renderConfig(answers)).not.toContain('Without general text');
  });
});
