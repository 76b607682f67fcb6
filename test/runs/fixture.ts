// Writes a run folder as a real run leaves it, from closed formulas and a fixed noise, so that figures in tests can be computed.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

export interface FixtureOptions {
  name?: string;
  numSteps?: number;
  /** Steps recorded, when the run was cut short. */
  recordedSteps?: number;
  /** Held-out bits per byte by share of the run done. */
  domain?: (done: number) => number;
  general?: (done: number) => number;
  /** Share of general text in the two phases. */
  replay?: [number, number];
  constantLr?: boolean;
  evalEvery?: number;
  /** Losses of single documents are kept. */
  documents?: boolean;
}

const TOKENS_PER_STEP = 16384;

export function temporaryFolder(): string {
  return fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-test-'));
}

export function writeRunFolder(folder: string, options: FixtureOptions = {}): string {
  const numSteps = options.numSteps ?? 400;
  const recorded = options.recordedSteps ?? numSteps;
  const domain = options.domain ?? ((done) => 1.62 - (0.31 * (1 - Math.exp(-4 * done))) / (1 - Math.exp(-4)));
  const general = options.general ?? ((done) => 1.1 + 0.03 * Math.sin(Math.PI * done) + 0.007 * done);
  const replay = options.replay ?? [0.65, 0.2];
  const switchStep = Math.round(0.72 * numSteps);
  const lrAt = (step: number): number =>
    options.constantLr ? 3e-4 : 3e-4 * (0.01 + 0.99 * 0.5 * (1 + Math.cos((Math.PI * step) / numSteps)));
  const phases = [
    { name: 'general blend', firstStep: 0, numSteps: switchStep, blend: { handbook: 1 - replay[0], web: replay[0] } },
    {
      name: 'domain blend',
      firstStep: switchStep,
      numSteps: numSteps - switchStep,
      blend: { handbook: 1 - replay[1], web: replay[1] },
    },
  ];
  const sets = [
    { name: 'handbook', role: 'domain', numBytes: 412_345, numTokens: 103_000, numDocuments: 41 },
    { name: 'web', role: 'general', numBytes: 523_000, numTokens: 121_000, numDocuments: 160 },
  ];
  fs.mkdirSync(path.join(folder, 'job'), { recursive: true });
  fs.mkdirSync(path.join(folder, 'evals'), { recursive: true });
  fs.mkdirSync(path.join(folder, 'checkpoints', 'step-00000200'), { recursive: true });
  fs.mkdirSync(path.join(folder, 'checkpoints', `step-${String(recorded).padStart(8, '0')}`), { recursive: true });
  fs.mkdirSync(path.join(folder, 'checkpoints', 'step-00000300.tmp'), { recursive: true });
  for (const name of fs.readdirSync(path.join(folder, 'checkpoints')))
    fs.writeFileSync(path.join(folder, 'checkpoints', name, 'config.json'), '{}');
  const write = (name: string, value: unknown): void =>
    fs.writeFileSync(path.join(folder, name), JSON.stringify(value));
  const lines = (name: string, values: unknown[]): void =>
    fs.writeFileSync(path.join(folder, name), values.map((value) => `${JSON.stringify(value)}\n`).join(''));
  write('plan.json', {
    name: options.name ?? 'handbook',
    preset: 'reuse-dont-retrain',
    numSteps,
    tokensPerStep: TOKENS_PER_STEP,
    seqLen: 1024,
    sequencesPerStep: 16,
    totalTokens: numSteps * TOKENS_PER_STEP,
    precision: 'bf16',
    presetTitle: 'two blends under one cosine (Parmar et al. 2024)',
    model: {
      name: 'base-9m',
      numParameters: 9_400_000,
      numNonEmbedding: 7_100_000,
      context: 1024,
      isInstruct: false,
      isInstructWhy: '',
    },
    corpora: [
      {
        name: 'handbook',
        role: 'domain',
        numTokens: 900_000,
        numDocuments: 390,
        numBytes: 3_600_000,
        heldOut: { numTokens: 103_000, numDocuments: 41 },
      },
      {
        name: 'web',
        role: 'general',
        numTokens: 5_100_000,
        numDocuments: 5200,
        numBytes: 2.1e7,
        heldOut: { numTokens: 121_000, numDocuments: 160 },
      },
    ],
    expected: {
      tokensByCorpus: { handbook: 3_100_000, web: 3_450_000 },
      epochsByCorpus: { handbook: 3.44, web: 0.68 },
      seconds: 790,
      memory: { stateBytes: 1.1e9, activationBytes: 0.3e9, programBytes: 0.1e9, totalBytes: 1.5e9 },
    },
    phases: phases.map((phase) => ({
      ...phase,
      numTokens: phase.numSteps * TOKENS_PER_STEP,
      lrFrom: lrAt(phase.firstStep),
      lrTo: lrAt(phase.firstStep + phase.numSteps),
    })),
    reasons: [
      {
        what: 'start learning rate',
        value: '3e-4',
        why: 'The model records the LR at which its own training ended; starting there avoids a second warm-up.',
        source: 'Parmar et al. 2024, section 4.2',
      },
      {
        what: 'switch step',
        value: String(switchStep),
        why: 'The second blend begins when the LR has fallen below a fifth of its maximum.',
        source: 'Parmar et al. 2024, section 4.3',
      },
      {
        what: 'replay share',
        value: '65 %, then 20 %',
        why: 'General text in both phases guards old knowledge.',
        source: 'assumption',
      },
    ],
    warnings: [
      {
        id: 'domain-repeated',
        severity: 'warning',
        message: 'The domain is read 3.4 times.',
        evidence: 'handbook has 0.9M tokens; the plan uses 3.1M.',
        fix: 'Add documents, or lower budget.tokens to 3M.',
        source: 'Muennighoff et al. 2023',
      },
    ],
  });
  write('job/job.json', {
    formatVersion: 1,
    fingerprint: '0123456789abcdef',
    name: options.name ?? 'handbook',
    model: '/models/base-9m',
    precision: 'bf16',
    seed: 0,
    numSteps,
    batch: { seqLen: 1024, sequencesPerStep: 16, sequencesPerMicroBatch: 4 },
    optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
    phases,
    shards: [],
    order: [],
    schedule: 'schedule.f32',
    checkpoint: { everySteps: 100, keep: 2 },
    evaluation: {
      everySteps: 50,
      sets: sets.map((set) => ({ ...set, order: { file: 'x', firstSequence: 0, numSequences: 1 } })),
    },
    digests: {},
  });
  const schedule = Float32Array.from({ length: numSteps }, (_, step) => lrAt(step));
  fs.writeFileSync(path.join(folder, 'job', 'schedule.f32'), new Uint8Array(schedule.buffer));
  const noise = noiseSource();
  lines(
    'metrics.jsonl',
    Array.from({ length: recorded }, (_, step) => {
      const done = step / numSteps;
      const blend = phases[step < switchStep ? 0 : 1]!.blend;
      const byCorpus = {
        handbook: 2.9 * (domain(done) / domain(0)) + 0.07 * noise(),
        web: 3.05 * (general(done) / general(0)) + 0.09 * noise(),
      };
      return {
        step,
        loss: blend.handbook * byCorpus.handbook + blend.web * byCorpus.web,
        lossByCorpus: byCorpus,
        lr: lrAt(step),
        gradNorm: 0.55 + 0.25 * Math.exp(-20 * done) + 0.05 * noise() + (step === 137 ? 1.9 : 0),
        tokens: (step + 1) * TOKENS_PER_STEP,
        tokensPerSecond: 8200 + 250 * noise(),
        stepMs: 2000,
        rssBytes: 1.4e9,
        phase: phases[step < switchStep ? 0 : 1]!.name,
      };
    }),
  );
  const evalSteps = [];
  for (let step = 0; step <= recorded; step += options.evalEvery ?? 50) evalSteps.push(step);
  for (const step of evalSteps) {
    const score = (set: (typeof sets)[number], bitsPerByte: number): object => {
      const lossNats = (bitsPerByte * Math.LN2 * set.numBytes) / set.numTokens;
      return {
        ...set,
        name: undefined,
        bitsPerByte,
        lossNats,
        perplexity: Math.exp(lossNats),
        stderrBitsPerByte: 0.004,
      };
    };
    write(`evals/step-${String(step).padStart(8, '0')}.json`, {
      step,
      time: '2026-11-21T10:00:00.000Z',
      sets: { handbook: score(sets[0]!, domain(step / numSteps)), web: score(sets[1]!, general(step / numSteps)) },
    });
    if (!options.documents) continue;
    // Documents differ much more from each other than each does from itself over the steps.
    const losses = (set: (typeof sets)[number], bitsPerByte: number): object => {
      const numBytes = Math.floor(set.numBytes / set.numDocuments);
      const of = (i: number): number => bitsPerByte + 0.2 * Math.sin(7 * i) + 0.005 * Math.sin(i * (step + 11));
      const bytes = Array.from({ length: set.numDocuments }, () => numBytes);
      return { bytes, nats: bytes.map((size, i) => of(i) * size * Math.LN2) };
    };
    write(`evals/documents-step-${String(step).padStart(8, '0')}.json`, {
      step,
      sets: { handbook: losses(sets[0]!, domain(step / numSteps)), web: losses(sets[1]!, general(step / numSteps)) },
    });
  }
  lines('events.jsonl', [
    { time: '2026-11-21T10:00:00.000Z', type: 'start', engine: 'native', kernels: 'avx512bf16', threads: 2 },
    { time: '2026-11-21T10:05:00.000Z', type: 'checkpoint', step: 200 },
    { time: '2026-11-21T10:06:00.000Z', type: 'resume', step: 200, kernels: 'avx512bf16', threads: 2 },
    { time: '2026-11-21T10:09:00.000Z', type: 'phase', step: switchStep, phase: 'domain blend' },
    ...(recorded === numSteps ? [{ time: '2026-11-21T10:14:30.000Z', type: 'finish', step: numSteps }] : []),
  ]);
  return folder;
}

/** Roughly normal noise from a fixed linear congruential generator. */
function noiseSource(): () => number {
  let state = 12345;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return () => next() + next() + next() + next() - 2;
}
