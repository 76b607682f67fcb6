// The engine's contract: what it says, what it leaves in the run folder, and what it refuses.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { openModel } from '../../src/checkpoint/index.ts';
import { type EvalDocumentsResult, type EvalResult, listCheckpoints, scoreSet } from '../../src/engine/index.ts';
import { referenceKernels } from '../../src/kernels/index.ts';
import { countMemory, loadDecoder } from '../../src/nn/index.ts';
import { openJob } from '../../src/shards/index.ts';
import {
  type Ended,
  finalState,
  killEngines,
  makeRun,
  makeWorld,
  OPTIMIZER,
  readLines,
  runEngine,
  SAME,
  sameState,
  startEngine,
  TINY,
  type World,
  writeTinyModel,
} from './fixtures.ts';

let world: World;
beforeAll(async () => {
  world = await makeWorld('contract');
});
afterEach(killEngines);
afterAll(() => fs.rmSync(world.root, { recursive: true, force: true }));

describe('a whole run', () => {
  let run: string;
  let ended: Ended;
  beforeAll(async () => {
    run = await makeRun(world);
    ended = await runEngine(run);
  });

  test('says hello, start, each step, evaluations, checkpoints, finished: JSON lines and nothing else', () => {
    expect(ended.stderr).toBe('');
    expect(ended.code).toBe(0);
    expect(ended.messages).toHaveLength(ended.lines.length);
    expect(ended.messages[0]).toMatchObject({ type: 'hello', protocol: 1, engine: 'native', threads: 1 });
    expect(ended.messages[1]).toEqual({ type: 'start', step: 0, numSteps: 40 });
    const types = ended.messages.map(({ type }) => type).filter((type) => type !== 'evalProgress');
    expect(types.filter((type) => type === 'step')).toHaveLength(40);
    expect(types.filter((type) => type === 'checkpoint')).toHaveLength(8);
    expect(types.filter((type) => type === 'eval')).toHaveLength(3);
    const folder = path.join(run, 'checkpoints', 'step-00000040');
    expect(ended.messages.at(-1)).toEqual({ type: 'finished', step: 40, folder });
  });

  test('metrics.jsonl has a line for each step, and the loss falls', () => {
    const lines = readLines(path.join(run, 'metrics.jsonl'));
    expect(lines.map(({ step }) => step)).toEqual(Array.from({ length: 40 }, (_, i) => i));
    for (const line of lines) {
      expect(line).toMatchObject({ phase: (line.step as number) < 20 ? 'first' : 'second' });
      for (const key of ['loss', 'lr', 'gradNorm', 'tokens', 'tokensPerSecond', 'stepMs', 'rssBytes'])
        expect(line[key], key).toBeTypeOf('number');
      // A step may have drawn from one corpus only.
      const losses = Object.values(line.lossByCorpus as Record<string, number>);
      expect(line.loss).toBeGreaterThanOrEqual(Math.min(...losses) - 1e-9);
      expect(line.loss).toBeLessThanOrEqual(Math.max(...losses) + 1e-9);
    }
    expect(lines.at(-1)!.tokens).toBe(lines.length * 4 * 64);
    expect(lines.at(-1)!.loss).toBeLessThan((lines[0]!.loss as number) * 0.8);
    expect(lines[10]!.lr).toBeCloseTo(3e-3 * 0.75, 9);
  });

  test('events.jsonl tells the story', () => {
    const events = readLines(path.join(run, 'events.jsonl'));
    const types = events.map(({ type }) => type).filter((type) => type !== 'checkpoint');
    expect(types).toEqual(['start', 'eval', 'phase', 'eval', 'phase', 'eval', 'finish']);
    for (const event of events) expect(Date.parse(event.time as string)).toBeGreaterThan(0);
  });

  test('held-out sets are scored before, during and after, and get better', () => {
    const read = (step: string) =>
      JSON.parse(fs.readFileSync(path.join(run, 'evals', `step-${step}.json`), 'utf8')) as EvalResult;
    expect(fs.readdirSync(path.join(run, 'evals')).filter((name) => name.startsWith('step-'))).toHaveLength(3);
    const [before, during, after] = ['00000000', '00000020', '00000040'].map(read) as [
      EvalResult,
      EvalResult,
      EvalResult,
    ];
    for (const [name, prepared] of Object.entries({ domain: world.domain, general: world.general })) {
      const { heldOut } = prepared.manifest;
      const set = after.sets[name]!;
      expect(set).toMatchObject({ role: name, numTokens: heldOut.numTokens, numBytes: heldOut.numBytes });
      expect(set.perplexity).toBeCloseTo(Math.exp(set.lossNats), 6);
      expect(set.bitsPerByte).toBeCloseTo((set.lossNats * set.numTokens) / Math.LN2 / set.numBytes, 9);
      expect(during.sets[name]!.bitsPerByte).toBeLessThan(before.sets[name]!.bitsPerByte);
      expect(set.bitsPerByte).toBeLessThan(during.sets[name]!.bitsPerByte);
    }
  });

  test('the newest checkpoints are kept, and the last is a model folder', () => {
    expect(listCheckpoints(run).map(({ step }) => step)).toEqual([35, 40]);
    const folder = path.join(run, 'checkpoints', 'step-00000040');
    const source = openModel(folder);
    try {
      expect(source.config).toMatchObject({
        model_type: 'llama',
        torch_dtype: 'float32',
        continuo: { recipe: 'test', step: 40, tokens: 40 * 256 },
      });
      expect(loadDecoder(source, 'f32', referenceKernels).list()).toHaveLength(2 + 6 * 2);
      expect(source.tokenizer().encode('hello')).toHaveLength(5);
    } finally {
      source.close();
    }
    expect(fs.readdirSync(run).sort()).toEqual(['checkpoints', 'evals', 'events.jsonl', 'job', 'metrics.jsonl']);
  });

  test('the end records the peak of memory and what of it was activations', () => {
    const finish = readLines(path.join(run, 'events.jsonl')).at(-1)!;
    expect(finish).toMatchObject({ type: 'finish', step: 40 });
    const [last] = readLines(path.join(run, 'metrics.jsonl')).slice(-1);
    expect(finish.peakRssBytes).toBeGreaterThanOrEqual(last!.rssBytes as number);
    expect(finish.activationBytes).toBe(countMemory(TINY, { batch: 2, seqLen: 64, precision: 'f32' }).activationBytes);
  });

  test('started again it says so, changes nothing, and finishes', async () => {
    const before = finalState(run);
    const again = await runEngine(run);
    expect(again.code).toBe(0);
    expect(again.messages.map(({ type }) => type)).toEqual(['hello', 'resume', 'finished']);
    expect(finalState(run)).toEqual(before);
    expect(readLines(path.join(run, 'metrics.jsonl'))).toHaveLength(40);
  });

  test('a checkpoint that is to be kept always outlives the others', async () => {
    const kept = await makeRun(world, { numSteps: 12, checkpoint: { everySteps: 2, keep: 1, always: [5] } });
    expect((await runEngine(kept)).code).toBe(0);
    expect(listCheckpoints(kept).map(({ step }) => step)).toEqual([5, 12]);
  });

  test('an embedding LR of 0 keeps the embedding, which here is the output matrix too', async () => {
    const frozen = await makeRun(world, {
      numSteps: 2,
      optimizer: { ...OPTIMIZER, embeddingLrFactor: 0 },
    });
    expect((await runEngine(frozen)).code).toBe(0);
    const read = (folder: string, name: string) => {
      const source = openModel(folder);
      const values = source.readF32(name);
      source.close();
      return values;
    };
    const after = path.join(frozen, 'checkpoints', 'step-00000002');
    const [table, norm] = ['model.embed_tokens.weight', 'model.norm.weight'];
    expect(read(after, table)).toEqual(read(world.model, table));
    expect(read(after, norm)).not.toEqual(read(world.model, norm));
  });

  test('an average of the weights is scored beside them and exported with the last checkpoint', async () => {
    const averaged = await makeRun(world, { ema: 0.9 });
    expect((await runEngine(averaged)).code).toBe(0);
    // The average is kept beside the weights: they are what they are without it.
    const weights = (folder: string) => fs.readFileSync(path.join(folder, 'model.safetensors'));
    const [last, before] = ['40', '35'].map((step) => path.join(averaged, 'checkpoints', `step-000000${step}`));
    expect(weights(last!).equals(finalState(run).weights)).toBe(true);
    expect(fs.existsSync(path.join(before!, 'ema'))).toBe(false);
    const source = openModel(path.join(last!, 'ema'));
    const reader = openJob(path.join(averaged, 'job'));
    try {
      expect(source.config.continuo).toMatchObject({ recipe: 'test', step: 40, ema: 0.9 });
      const decoder = loadDecoder(source, 'f32', referenceKernels);
      const read = (step: string) =>
        JSON.parse(fs.readFileSync(path.join(averaged, 'evals', `step-000000${step}.json`), 'utf8')) as EvalResult;
      expect(read('00').ema).toBeUndefined();
      const { sets, ema } = read('40');
      const [set] = reader.job.evaluation.sets;
      const documents = reader.evalDocuments(set!);
      const { result: score, nats } = await scoreSet(decoder, set!, (i) => reader.evalSequence(set!, i), documents, 2);
      expect(score.bitsPerByte).toBeCloseTo(ema![set!.name]!.bitsPerByte, 5);
      expect(score.bitsPerByte).not.toBeCloseTo(sets[set!.name]!.bitsPerByte, 3);
      // Documents add up to the set, also in the file of the weights themselves; the error is that of the residuals of the ratio.
      const file = path.join(averaged, 'evals', 'documents-step-00000040.json');
      const own = (JSON.parse(fs.readFileSync(file, 'utf8')) as EvalDocumentsResult).sets[set!.name]!;
      const sum = (values: Iterable<number>) => [...values].reduce((total, x) => total + x, 0);
      expect(sum(own.nats) / Math.LN2 / sum(own.bytes)).toBeCloseTo(sets[set!.name]!.bitsPerByte, 4);
      expect(nats.length).toBe(set!.numDocuments);
      const residuals = [...nats].map((x, i) => x / Math.LN2 - score.bitsPerByte * documents.bytes[i]!);
      const variance = sum(residuals.map((r) => r * r)) / (nats.length - 1);
      expect(score.stderrBitsPerByte).toBeCloseTo(Math.sqrt(variance * nats.length) / set!.numBytes, 8);
    } finally {
      source.close();
      reader.close();
    }
  });

  test('micro-batches of another size give nearly the same losses', async () => {
    const other = await makeRun(world, { batch: { seqLen: 64, sequencesPerStep: 4, sequencesPerMicroBatch: 4 } });
    await runEngine(other, { threads: 2 });
    const [a, b] = [run, other].map((folder) => readLines(path.join(folder, 'metrics.jsonl')));
    a!.forEach((line, i) => {
      expect(b![i]!.loss).toBeCloseTo(line.loss as number, 3);
    });
  });
});

test('a model with experts says how they are loaded, and trains its routers on their own losses', async () => {
  const experts = { num_experts: 4, num_experts_per_tok: 2 };
  const sizes = { model_type: 'olmoe', architectures: ['OlmoeForCausalLM'], ...experts };
  const model = await writeTinyModel(path.join(world.root, 'experts'), sizes);
  const routers = { balance: 0.5, z: 0.01 };
  const selectTokens = { model, keep: 0.5, cache: path.join(world.root, 'losses-of-experts') };
  const runs = [
    await makeRun(world, { model, numSteps: 10, routers }),
    await makeRun(world, { model, numSteps: 10 }),
    await makeRun(world, { model, numSteps: 1, routers, selectTokens }),
  ];
  const metrics: Record<string, number>[] = [];
  for (const run of runs) {
    expect((await runEngine(run)).code).toBe(0);
    metrics.push(readLines(path.join(run, 'metrics.jsonl')).at(-1)!.experts as Record<string, number>);
  }
  expect(Object.keys(metrics[0]!)).toEqual(['maxLoad', 'minLoad', 'entropy', 'auxLoss', 'zLoss', 'byLayer']);
  expect(metrics[0]!.byLayer).toMatchObject({ maxLoad: [expect.any(Number), expect.any(Number)] });
  expect(metrics[0]!.maxLoad).toBeGreaterThanOrEqual(1);
  // Two experts a token: the loss of equal loads is 2.
  expect(metrics[0]!.auxLoss).toBeGreaterThan(1.5);
  expect(metrics[0]!.zLoss).toBeLessThan(metrics[1]!.zLoss!);
  // Of all tokens, whichever of them are chosen for their own loss: not twice as much where half are.
  expect(metrics[2]!.auxLoss).toBeGreaterThan(1.5);
  expect(metrics[2]!.auxLoss).toBeLessThan(3);
});

describe('refused, in words, with exit code 4', () => {
  async function refusal(run: string, kind: string): Promise<string> {
    const ended = await runEngine(run);
    expect(ended.code).toBe(4);
    expect(ended.stderr).toBe('');
    const last = ended.messages.at(-1);
    expect(last).toMatchObject({ type: 'fatal', kind });
    expect(fs.existsSync(path.join(run, 'engine.lock'))).toBe(false);
    return (last as { message: string }).message;
  }

  test('an edited job.json, schedule or order file is named', async () => {
    const run = await makeRun(world);
    const job = path.join(run, 'job', 'job.json');
    const original = fs.readFileSync(job, 'utf8');
    fs.writeFileSync(job, original.replace('"weightDecay": 0.1', '"weightDecay": 0.2'));
    expect(await refusal(run, 'DataError')).toMatch(/job\.json: was edited or is damaged .*Start the run again/s);
    fs.writeFileSync(job, original);
    for (const file of ['schedule.f32', 'order-00000.bin', 'eval-00.bin']) {
      const target = path.join(run, 'job', file);
      const bytes = fs.readFileSync(target);
      bytes[bytes.length - 1]! ^= 1;
      fs.writeFileSync(target, bytes);
      expect(await refusal(run, 'DataError')).toContain(`${file}: was edited or is damaged`);
      bytes[bytes.length - 1]! ^= 1;
      fs.writeFileSync(target, bytes);
    }
  });

  test('a missing model folder', async () => {
    const run = await makeRun(world, { model: path.join(world.root, 'gone') });
    expect(await refusal(run, 'ConfigError')).toMatch(/gone: no such file or folder \(while opening the model\)/);
  });

  test("another job's checkpoint", async () => {
    const [run, other] = [await makeRun(world, { numSteps: 5 }), await makeRun(world, { numSteps: 6 })];
    await runEngine(other);
    fs.cpSync(path.join(other, 'checkpoints'), path.join(run, 'checkpoints'), { recursive: true });
    expect(await refusal(run, 'ConfigError')).toMatch(/belongs to job \w{16}, the job here is \w{16}/);
  });

  test('a second engine in the same folder, while the first goes on', async () => {
    const run = await makeRun(world, { numSteps: 4000 });
    const first = startEngine(run);
    await first.until(({ type }) => type === 'step');
    const second = await runEngine(run);
    expect(second.code).toBe(4);
    expect(second.messages).toEqual([
      {
        type: 'fatal',
        kind: 'ConfigError',
        message: expect.stringContaining(`another engine (process ${first.child.pid}) is working in this run folder`),
      },
    ]);
    const seen = readLines(path.join(run, 'metrics.jsonl')).length;
    await first.until((message) => message.type === 'step' && message.step >= seen);
    expect(first.child.exitCode).toBe(null);
  });

  test('an LR that destroys the weights: no checkpoint of it, the earlier one is named', async () => {
    const wild = await makeRun(world, {
      numSteps: 12,
      schedule: Float32Array.from({ length: 12 }, (_, i) => (i < 7 ? 1e-3 : 1e30)),
    });
    const message = await refusal(wild, 'EngineError');
    expect(message).toMatch(/training stopped (at|after) /);
    expect(message).toContain(path.join(wild, 'checkpoints', 'step-00000005'));
    expect(message).toContain('lower recipe.peakLr');
    expect(listCheckpoints(wild).map(({ step }) => step)).toEqual([5]);
    const events = readLines(path.join(wild, 'events.jsonl'));
    expect(events.at(-1)).toMatchObject({ type: 'error', message });
  });

  test('weights that the last step made infinite: no checkpoint is written of them', async () => {
    const wild = await makeRun(world, {
      numSteps: 6,
      schedule: [1e-5, 1e-5, 1e-5, 1e-5, 1e-5, 1e38],
      optimizer: { ...OPTIMIZER, weightDecay: 100 },
    });
    const message = await refusal(wild, 'EngineError');
    expect(message).toMatch(/training stopped after 6 steps: model\.\S+ holds values that are not numbers/);
    expect(message).toContain(path.join(wild, 'checkpoints', 'step-00000005'));
    expect(listCheckpoints(wild).map(({ step }) => step)).toEqual([5]);
  });

  test('a loss that is not a number in the first step', async () => {
    const model = path.join(world.root, 'infinite');
    fs.cpSync(world.model, model, { recursive: true });
    const file = path.join(model, 'model.safetensors');
    const bytes = fs.readFileSync(file);
    bytes.writeFloatLE(Number.POSITIVE_INFINITY, bytes.length - 4);
    fs.writeFileSync(file, bytes);
    const run = await makeRun(world, { model });
    const message = await refusal(run, 'EngineError');
    expect(message).toMatch(/training stopped at step 0: the loss is not a number \(loss NaN/);
    expect(message).toContain('the model that the run began with');
    expect(listCheckpoints(run)).toEqual([]);
  });

  test('a checkpoint that lost a part', async () => {
    const run = await makeRun(world, { numSteps: 5 });
    await runEngine(run);
    const file = path.join(run, 'checkpoints', 'step-00000005', 'trainer', 'optimizer.safetensors');
    fs.truncateSync(file, fs.statSync(file).size - 100);
    expect(await refusal(run, 'DataError')).toContain(file);
  });
});

test('leftovers of a killed engine are removed, a torn last line is closed', async () => {
  const [run, clean] = [await makeRun(world, { numSteps: 10 }), await makeRun(world, { numSteps: 10 })];
  fs.mkdirSync(path.join(run, 'checkpoints', 'step-00000005.tmp', 'trainer'), { recursive: true });
  fs.writeFileSync(path.join(run, 'checkpoints', 'step-00000005.tmp', 'config.json'), '{');
  fs.writeFileSync(path.join(run, 'metrics.jsonl'), '{"step":0,"loss":5.5}\n{"step":1,"lo');
  fs.writeFileSync(path.join(run, 'engine.lock'), '');
  expect((await runEngine(run)).code).toBe(0);
  await runEngine(clean);
  expect(sameState(run, clean)).toEqual(SAME);
  expect(fs.readdirSync(path.join(run, 'checkpoints')).sort()).toEqual(['step-00000005', 'step-00000010']);
  const lines = fs.readFileSync(path.join(run, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  expect(lines[1]).toBe('{"step":1,"lo');
  expect(lines.slice(2).map((line) => (JSON.parse(line) as { step: number }).step)).toEqual([...Array(10).keys()]);
});
