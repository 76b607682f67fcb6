import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PRESET_NAMES } from '../../src/config/index.ts';
import {
  assumedPeakLr,
  explainPlan,
  lrAt,
  type ModelFactsForPlan,
  makePlan,
  type Plan,
  type PlanInputs,
  PRESETS,
  peakLrByWidth,
  unevenStep,
} from '../../src/recipe/index.ts';
import { corpus, countMemory, HANDBOOK, inputs, MODEL, newModelInputs, QA, WEB } from './facts.ts';

const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
const reason = (plan: Plan, what: string) => plan.reasons.find((entry) => entry.what === what);
/** Shares without the last bits that make their sum exactly 1. */
const blends = (plan: Plan) =>
  plan.phases.map(({ blend }) =>
    Object.fromEntries(Object.entries(blend).map(([name, share]) => [name, Number(share.toFixed(6))])),
  );
const UNKNOWN = { ...MODEL, pretraining: undefined };

it('every preset that the configuration knows has a file, under its own name', () => {
  expect(Object.keys(PRESETS).sort()).toEqual([...PRESET_NAMES].sort());
  for (const [name, preset] of Object.entries(PRESETS)) expect(preset.name).toBe(name);
});

describe('reuse-dont-retrain', () => {
  it("starts at pretraining's final LR, ends at a hundredth of it, and switches at a fifth", () => {
    const plan = makePlan(inputs());
    expect(plan.schedule).toMatchObject({ kind: 'cosine', peakLr: 2e-4, floorLr: 2e-6, warmupSteps: 0 });
    expect(plan.phases.map((phase) => phase.name)).toEqual(['general blend', 'second blend']);
    const [first, second] = plan.phases;
    expect(second!.firstStep / (plan.numSteps - 1)).toBeCloseTo(0.711, 2);
    expect(second!.lrFrom).toBeLessThanOrEqual(0.2 * 2e-4);
    expect(first!.lrTo).toBeGreaterThan(0.2 * 2e-4);
    expect(second!.lrTo).toBe(2e-6);
    expect(first!.blend).toEqual({ handbook: 0.75, web: 0.25 });
    expect(second!.blend).toEqual({ handbook: 0.8, web: 0.2 });
    expect(reason(plan, 'peak LR')).toMatchObject({ value: '2e-4', source: 'Parmar et al. 2024; config.json' });
    expect(reason(plan, 'final LR')!.source).toBe('Parmar et al. 2024, Table 8');
    expect(reason(plan, 'second phase begins at')!.source).toBe('Parmar et al. 2024, Table 9');
  });

  it('brings instruction text in the second phase only', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB, QA]));
    expect(blends(plan)).toEqual([
      { handbook: 0.75, web: 0.25 },
      { handbook: 0.7, web: 0.2, qa: 0.1 },
    ]);
  });

  it('without a domain, goes from general text to general and instruction text, as in the paper', () => {
    expect(blends(makePlan(inputs([WEB, QA])))).toEqual([{ web: 1 }, { web: 0.9, qa: 0.1 }]);
  });

  it('is one phase where both would be the same', () => {
    const plan = makePlan(inputs([HANDBOOK]));
    expect(plan.phases).toMatchObject([{ firstStep: 0, numSteps: plan.numSteps, blend: { handbook: 1 }, lrTo: 2e-6 }]);
    expect(reason(plan, 'phases')).toBeDefined();
    expect(reason(plan, 'general text, first phase')).toBeUndefined();
  });

  it('assumes an LR by size where none is recorded, and says so loudly', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB], 'budget: { tokens: 4M }', UNKNOWN));
    expect(plan.schedule.peakLr).toBeCloseTo(assumedPeakLr(8e6) / 10, 8);
    expect(reason(plan, 'peak LR')).toMatchObject({ source: 'assumption', why: expect.stringContaining('ASSUMED') });
    expect(plan.warnings.map((warning) => warning.id)).toContain('pretraining-lr-unknown');
  });

  it('takes a tenth of the recorded peak where only that is known', () => {
    const plan = makePlan(
      inputs([HANDBOOK, WEB], 'budget: { tokens: 4M }', { ...MODEL, pretraining: { peakLr: 3e-3, source: 'card' } }),
    );
    expect(plan.schedule.peakLr).toBeCloseTo(3e-4, 10);
  });

  it('starts between final and peak LR of pretraining when asked to', () => {
    const middle = 'budget: { tokens: 4M }\nrecipe: { preset: reuse-dont-retrain, startAt: middle }';
    const plan = makePlan(inputs([HANDBOOK, WEB], middle));
    expect(plan.schedule).toMatchObject({ peakLr: 6.3e-4, floorLr: 6.3e-6 });
    expect(reason(plan, 'peak LR')!.why).toContain('between the final LR (2e-4) and the peak LR (2e-3) of pretraining');
    expect(plan.warnings).toMatchObject([{ id: 'lr-above-pretraining-final', severity: 'note' }]);
  });

  it('takes what the user sets, and names the file as the reason', () => {
    const plan = makePlan(
      inputs(
        [HANDBOOK, WEB, QA],
        'budget: { tokens: 4M }\nrecipe: { preset: reuse-dont-retrain, peakLr: 1e-4, finalLr: 1e-5, warmup: 0.1, replay: { first: 0.3, second: 0.1 }, switchAt: 0.5, instruction: 0.2 }',
      ),
    );
    expect(plan.schedule).toMatchObject({ peakLr: 1e-4, floorLr: 1e-5, warmupSteps: Math.round(0.1 * plan.numSteps) });
    expect(blends(plan)).toEqual([
      { handbook: 0.7, web: 0.3 },
      { handbook: 0.7, web: 0.1, qa: 0.2 },
    ]);
    for (const what of ['peak LR', 'final LR', 'warm-up', 'second phase begins at', 'general text, first phase'])
      expect(reason(plan, what)).toMatchObject({ why: 'as you set it', source: 'continuo.yaml' });
  });

  it('takes whole blends from the user', () => {
    const plan = makePlan(
      inputs(
        [HANDBOOK, WEB],
        'budget: { tokens: 4M }\nrecipe: { preset: reuse-dont-retrain, secondBlend: { web: 3, handbook: 1 } }',
      ),
    );
    expect(plan.phases[1]!.blend).toEqual({ web: 0.75, handbook: 0.25 });
  });

  it('refuses a floor above the peak and shares beyond 1', () => {
    const refused = (options: string) => () =>
      makePlan(
        inputs([HANDBOOK, WEB, QA], `budget: { tokens: 4M }\nrecipe: { preset: reuse-dont-retrain, ${options} }`),
      );
    expect(refused('finalLr: 1e-3')).toThrow('recipe.finalLr: expected at most the peak LR (2e-4), found 1e-3.');
    expect(refused('replay: 0.6, instruction: 0.6')).toThrow('are more than 1 together');
  });
});

describe('the other presets', () => {
  it('rewarm-replay warms up to the peak of pretraining and decays to a tenth', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB], 'budget: { tokens: 8M }\nrecipe: rewarm-replay'));
    expect(plan.schedule).toMatchObject({ kind: 'cosine', peakLr: 2e-3, floorLr: 2e-4, warmupSteps: 2 });
    expect(blends(plan)).toEqual([{ handbook: 0.75, web: 0.25 }]);
    const weak = makePlan(
      inputs([HANDBOOK, WEB], 'budget: { tokens: 8M }\nrecipe: { preset: rewarm-replay, shift: weak }'),
    );
    expect(blends(weak)[0]).toEqual({ handbook: 0.95, web: 0.05 });
  });

  it('naive is domain only at one LR, the start LR of the default recipe', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB, QA], 'budget: { tokens: 4M }\nrecipe: naive'));
    expect(plan.presetTitle).toContain('CONTROL');
    expect(blends(plan)).toEqual([{ handbook: 1 }]);
    expect([lrAt(plan.schedule, 0), lrAt(plan.schedule, plan.numSteps - 1)]).toEqual([2e-4, 2e-4]);
    expect(plan.expected.tokensByCorpus).toEqual({ handbook: plan.totalTokens, web: 0, qa: 0 });
  });

  it('naive and the default recipe train on the same number of tokens', () => {
    const plans = ['naive', 'reuse-dont-retrain'].map((name) =>
      makePlan(inputs([HANDBOOK, WEB], `budget: { tokens: 4M }\nrecipe: ${name}`)),
    );
    expect(plans[0]!.totalTokens).toBe(plans[1]!.totalTokens);
    expect(plans[0]!.tokensPerStep).toBe(plans[1]!.tokensPerStep);
  });

  it('from-scratch records the LRs that the next recipe starts from', () => {
    const plan = makePlan(newModelInputs([WEB, corpus('books', 'general', 60_000_000)]));
    expect(plan.preset).toBe('from-scratch');
    expect(plan.schedule).toMatchObject({ peakLr: peakLrByWidth(256), floorLr: peakLrByWidth(256) / 10 });
    expect(blends(plan)[0]).toEqual({ web: 0.25, books: 0.75 });
    expect(plan.recordsPretraining).toMatchObject({
      peakLr: 0.002,
      finalLr: 0.0002,
      tokens: plan.totalTokens,
      batchTokens: plan.tokensPerStep,
    });
    expect(plan.numSteps).toBeGreaterThanOrEqual(2000);
    const next = makePlan(
      inputs([HANDBOOK, WEB], 'budget: { tokens: 4M }', { ...MODEL, pretraining: plan.recordsPretraining }),
    );
    expect(next.schedule.peakLr).toBe(plan.recordsPretraining!.finalLr);
    expect(next.recordsPretraining).toBeUndefined();
  });

  it('from-scratch blends by weight where weights are given, without repeating a small corpus too often', () => {
    const small = corpus('books', 'domain', 1_000_000);
    const plan = makePlan(
      newModelInputs([corpus('web', 'general', 90_000_000), small], 'budget: { tokens: 80M }', {
        web: 0.5,
        books: 0.5,
      }),
    );
    expect(plan.expected.epochsByCorpus.books).toBeCloseTo(4, 2);
    expect(reason(plan, 'share of books')!.why).toContain('not repeated more than 4 times');
    expect(() => newModelInputs([WEB, small], undefined, { web: 1 })).toThrow(
      'corpora.books: has no weight, while another training corpus has one',
    );
  });
});

it('the embedding LR is a share of the schedule', () => {
  const share = (training: string) =>
    makePlan(inputs([HANDBOOK, WEB], `budget: { tokens: 4M }\n${training}`)).optimizer.embeddingLrFactor;
  expect(share('')).toBe(1);
  expect(share('training: { embeddingLr: 5e-5 }')).toBe(0.25);
  // Beside adapters: a tenth of theirs.
  expect(share('training: { lora: { rank: 8, embeddings: true } }')).toBeCloseTo(0.1, 12);
  expect(share('training: { lora: { rank: 8, embeddings: true, lr: 2e-3 } }')).toBeCloseTo(1, 12);
  expect(share('training: { lora: { rank: 8, embeddings: true, lr: 2e-3 }, embeddingLr: 1e-4 }')).toBe(0.5);
});

describe('a model with experts', () => {
  const experts = { num: 64, perToken: 8, numActive: 1_300_000, balanceLoss: 0.01 };
  const plan = (training: string, model: ModelFactsForPlan = { ...MODEL, experts }) =>
    makePlan(inputs([HANDBOOK, WEB], `budget: { tokens: 4M }\ntraining: { ${training} }`, model));

  it("takes the coefficients of its routers' losses from config.json or continuo.yaml", () => {
    expect(plan('').routers).toEqual({ balance: 0.01, z: 0 });
    expect(reason(plan(''), 'load-balancing loss')!.source).toBe("the model's config.json");
    expect(plan('routerAuxLoss: 0, routerZLoss: 0.001').routers).toEqual({ balance: 0, z: 0.001 });
    expect(reason(plan('routerZLoss: 0.001'), 'router z-loss')!.source).toBe('continuo.yaml');
    expect(plan('', MODEL).routers).toBeUndefined();
  });

  it('says that a pass matters to its result', () => {
    expect(reason(plan(''), 'sequences a pass')!.why).toMatch(/load-balancing loss, which is that of each pass$/);
    expect(reason(plan('', MODEL), 'sequences a pass')!.why).toMatch(/but for rounding$/);
  });

  it('refuses them where there are no routers', () => {
    expect(() => plan('routerZLoss: 0.001', MODEL)).toThrow(/training\.routerZLoss: this model has no experts/);
  });

  it('says what a token passes', () => {
    expect(explainPlan(plan('')).replace(/\s+/g, ' ')).toContain('1.3M for a token, which passes 8 of 64 experts');
  });
});

describe('budget, batch and steps', () => {
  const more = (budget: string, training = '') => `budget: ${budget}\ntraining: { ${training} }`;

  it('keeps the batch of pretraining where the budget allows it', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB], more('{ tokens: 8M }')));
    expect(plan.tokensPerStep).toBe(32_768);
    expect(reason(plan, 'tokens a step')!.source).toContain('Parmar');
  });

  it('otherwise makes enough steps of a power of two of sequences', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB], more('{ tokens: 2M }')));
    expect(plan.tokensPerStep).toBe(8192);
    expect(plan.numSteps).toBe(244);
    expect(makePlan(inputs([HANDBOOK, WEB], more('{ tokens: 1M }'))).tokensPerStep).toBe(4096);
  });

  it('turns epochs of the domain into tokens, replay included', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB, QA], more('{ epochs: 2 }')));
    expect(plan.expected.epochsByCorpus.handbook).toBeGreaterThan(1.98);
    expect(plan.expected.epochsByCorpus.handbook).toBeLessThanOrEqual(2);
    expect(plan.totalTokens).toBeGreaterThan(2 * HANDBOOK.numTokens);
  });

  it('turns minutes into tokens where the speed is known', () => {
    expect(() => makePlan(inputs([HANDBOOK, WEB], more('{ minutes: 10 }')))).toThrow(
      /budget\.minutes: the training speed of this machine is not known/,
    );
    const plan = makePlan({
      ...inputs([HANDBOOK, WEB], more('{ minutes: 10 }')),
      hardware: { tokensPerSecond: 5000, source: 'measured' },
    });
    expect(plan.totalTokens).toBeGreaterThan(0.97 * 3e6);
    expect(plan.totalTokens).toBeLessThanOrEqual(3e6);
    expect(plan.expected.seconds).toBeGreaterThanOrEqual(plan.totalTokens / 5000);
  });

  it('takes steps, batch, sequence length and micro batch as given', () => {
    const plan = makePlan(
      inputs([HANDBOOK, WEB], more('{ steps: 37 }', 'batchTokens: 10k, seqLen: 256, microBatch: 13')),
    );
    expect(plan).toMatchObject({
      numSteps: 37,
      seqLen: 256,
      sequencesPerStep: 39,
      tokensPerStep: 9984,
      sequencesPerMicroBatch: 13,
    });
  });

  it('refuses what cannot be', () => {
    const plan = (budget: string, training: string) => () => makePlan(inputs([HANDBOOK, WEB], more(budget, training)));
    expect(plan('{ tokens: 1000 }', '')).toThrow('budget: 1k tokens are less than one step of 4.1k tokens');
    expect(plan('{ steps: 9 }', 'batchTokens: 100')).toThrow(
      'training.batchTokens: expected at least one sequence (512 tokens), found 100.',
    );
    expect(plan('{ steps: 9 }', 'batchTokens: 4096, microBatch: 3')).toThrow(
      'training.microBatch: expected a divisor of the 8 sequences of a step, found 3.',
    );
    expect(() => makePlan(inputs([corpus('handbook', 'domain', 0), WEB]))).toThrow(
      'corpora.handbook: has no tokens to train on',
    );
    const noDomain =
      'budget: { epochs: 1 }\nrecipe: { preset: reuse-dont-retrain, firstBlend: { web: 1 }, secondBlend: { web: 1 } }';
    expect(() => makePlan(inputs([HANDBOOK, WEB], noDomain))).toThrow(
      'budget.epochs: the blend gives handbook no share',
    );
  });

  it('makes a run of one step', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB], more('{ steps: 1 }')));
    expect(plan.phases).toMatchObject([{ firstStep: 0, numSteps: 1 }]);
    expect(plan.evaluation.everySteps).toBe(1);
    expect(plan.checkpoint.everySteps).toBe(1);
  });

  it('keeps passes within the memory', () => {
    const base = inputs([HANDBOOK, WEB], more('{ tokens: 8M }'));
    expect(makePlan(base).sequencesPerMicroBatch).toBe(8);
    expect(
      makePlan({ ...base, hardware: { memoryBytes: 300e6, source: 'this machine' } }).sequencesPerMicroBatch,
    ).toBeLessThan(8);
  });

  it('does not measure more than about a tenth of the time', () => {
    const plan = makePlan(inputs([HANDBOOK, WEB], more('{ tokens: 2M }')));
    const evalTokens = (plan.numSteps / plan.evaluation.everySteps) * 200_000;
    expect(evalTokens / 3 / plan.totalTokens).toBeLessThan(0.11);
  });
});

it('any plan is complete, and its tokens add up', () => {
  const preset = fc.constantFrom('reuse-dont-retrain', 'rewarm-replay', 'naive');
  const size = fc.integer({ min: 20_000, max: 50_000_000 });
  const budget = fc.integer({ min: 5_000, max: 200_000_000 });
  fc.assert(
    fc.property(
      preset,
      size,
      size,
      size,
      budget,
      fc.integer({ min: 1, max: 7 }),
      (name, domain, general, qa, tokens, present) => {
        const corpora = [
          corpus('a', 'domain', domain),
          corpus('b', 'general', general),
          corpus('c', 'instruction', qa),
        ].filter((_, i) => present & (1 << i));
        const plan = makePlan(inputs(corpora, `budget: { tokens: ${tokens} }\nrecipe: ${name}`));
        expect(plan.totalTokens).toBe(plan.numSteps * plan.tokensPerStep);
        expect(plan.totalTokens).toBeLessThanOrEqual(tokens);
        expect(tokens - plan.totalTokens).toBeLessThan(plan.tokensPerStep);
        expect(plan.tokensPerStep).toBe(plan.seqLen * plan.sequencesPerStep);
        expect(plan.sequencesPerStep % plan.sequencesPerMicroBatch).toBe(0);
        expect(sum(Object.values(plan.expected.tokensByCorpus))).toBe(plan.totalTokens);
        let next = 0;
        for (const phase of plan.phases) {
          expect(phase.firstStep).toBe(next);
          next += phase.numSteps;
          expect(sum(Object.values(phase.blend))).toBe(1);
          expect(phase.numTokens).toBe(phase.numSteps * plan.tokensPerStep);
        }
        expect(next).toBe(plan.numSteps);
        for (const { what, value, why, source } of plan.reasons)
          for (const text of [what, value, why, source]) expect(text).not.toBe('');
        expect(JSON.stringify(plan)).not.toMatch(/null|NaN|undefined/);
        expect(JSON.parse(JSON.stringify(plan))).toEqual(plan);
      },
    ),
    { numRuns: 200 },
  );
});

it('assumed LRs are near to published ones', () => {
  // A tenth of it as a start LR: 5e-6 to 3e-5 on annealed 7-8B models; 3e-5 at 405M (Ibrahim et al. 2024).
  expect(assumedPeakLr(7e9) / 10).toBeGreaterThan(5e-6);
  expect(assumedPeakLr(7e9) / 10).toBeLessThan(3e-5);
  expect(assumedPeakLr(405e6) / 10).toBeCloseTo(3.7e-5, 6);
  expect(assumedPeakLr(1e3)).toBe(3e-3);
  expect(peakLrByWidth(768)).toBeCloseTo(6.5e-4, 8);
});

describe('memory', () => {
  const memory = (training = '', hardware?: PlanInputs['hardware']) => {
    const given = inputs([HANDBOOK, WEB], `budget: { tokens: 4M }\ntraining: { microBatch: 2, ${training} }`);
    return makePlan({ ...given, hardware }).expected;
  };

  it('is what was counted for the passes of the plan, and the program', () => {
    const { numTrained: _, ...counted } = countMemory({
      batch: 2,
      seqLen: 512,
      precision: 'bf16',
      ema: false,
      recompute: false,
    });
    const planned = memory().memory;
    expect(planned).toMatchObject(counted);
    expect(planned.totalBytes).toBe(counted.stateBytes + counted.activationBytes + planned.programBytes);
    expect(memory('precision: f32').memory.activationBytes).toBe(2 * counted.activationBytes);
  });

  it('layers are run again where keeping them does not fit, or where that is asked for', () => {
    const on = (memoryBytes: number, training = '') => {
      const given = inputs([HANDBOOK, WEB], `budget: { tokens: 4M }\ntraining: { seqLen: 512, ${training} }`);
      const plan = makePlan({ ...given, hardware: { memoryBytes, source: 'a test' } });
      return { recompute: plan.recompute ?? false, why: reason(plan, 'recomputation')!.why, plan };
    };
    // State and program are 256 MB, a sequence's activations 31 MB, and 80 % may be filled.
    expect(on(400e6).recompute).toBe(false);
    const small = on(350e6);
    expect(small.recompute).toBe(true);
    expect(small.why).toMatch(/^kept activations would take 279 MiB in all, and 334 MiB may be used/);
    expect(small.plan.sequencesPerMicroBatch).toBeGreaterThan(1);
    expect(on(350e6, 'recompute: false').recompute).toBe(false);
    expect(on(8e9, 'recompute: true').recompute).toBe(true);
    // With the passes that were asked for.
    expect(on(400e6, 'microBatch: 4').recompute).toBe(true);
  });

  it('an average of the weights takes 4 bytes more', () => {
    expect(memory('ema: 0.9').memory.stateBytes).toBe(20 * MODEL.numParameters);
  });
});

describe('steps of several GPUs', () => {
  const planned = (gpus: number, training = 'training: { seqLen: 512 }') =>
    makePlan(inputs([HANDBOOK, WEB], `budget: { tokens: 4M }\nengine: { torch: { gpus: ${gpus} } }\n${training}`));
  const reason = (plan: ReturnType<typeof planned>) => plan.reasons.find(({ what }) => what === 'tokens a step')!.why;

  it('have a part for each, and say so where that decides', () => {
    const [few, many] = [planned(3), planned(256)];
    expect(few.sequencesPerStep % 3).toBe(0);
    expect(reason(few)).not.toContain('the least');
    expect(many.sequencesPerStep).toBe(256);
    expect(reason(many)).toContain('the least that 256 GPUs can share');
  });

  it('are found where another number cannot share them', () => {
    const plan = planned(3);
    expect(unevenStep(plan, 3)).toBeUndefined();
    expect(unevenStep(plan, 1)).toBeUndefined();
    expect(unevenStep(plan, 7)).toBe(plan.sequencesPerStep);
    const longer = { ...plan, phases: [{ ...plan.phases[0]!, seqLen: 1024 }] };
    expect(unevenStep(longer, plan.sequencesPerStep)).toBe(plan.sequencesPerStep / 2);
  });
});
