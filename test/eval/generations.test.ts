import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import { inspectGenerations, textSigns, warningSigns } from '../../src/eval/index.ts';
import { stubModel } from './stub-model.ts';

const PROSE =
  'The harbour lay quiet in the morning light, and only two boats had left before dawn. A man with a basket walked along the quay, counted the ropes, and asked nobody in particular when the rain would come.';

describe('signs of a text', () => {
  it('tell prose from loops', () => {
    const prose = textSigns(PROSE);
    expect(prose).toMatchObject({ repeated: 0, loop: 0 });
    expect(prose.distinct[1]).toBe(1);
    const loop = textSigns(`It began well. ${'and then the next one '.repeat(20)}`);
    expect(loop.loop).toBeGreaterThan(0.9);
    expect(loop.repeated).toBeGreaterThan(0.9);
    expect(loop.compression).toBeGreaterThan(2 * prose.compression);
    expect(textSigns('no no no').loop).toBe(1);
    expect(textSigns('no no yes no no').loop).toBe(0);
    expect(textSigns('')).toMatchObject({ numWords: 0, repeated: 0, loop: 0, compression: 1 });
  });
});

const PROMPTS = Array.from({ length: 16 }, (_, i) => `Prompt ${i}: ${PROSE}`);

describe('a model that degenerates', () => {
  const sound = stubModel('sound', { answer: (prompt) => `${prompt.slice(0, 9)} ${PROSE}` });
  const broken = stubModel('broken', {
    answer: (prompt) => (/ [0-4]:/.test(prompt) ? '' : 'the same thing again and '.repeat(30)),
  });

  it('is seen beside its base', async () => {
    const [before, after] = [
      await inspectGenerations(sound, PROMPTS),
      await inspectGenerations(broken, PROMPTS, { base: sound }),
    ];
    expect(before).toMatchObject({ looping: 0, empty: 0, endless: 0, drifting: 0, scoredBy: 'sound' });
    expect(after).toMatchObject({ looping: 11 / 16, empty: 5 / 16, scoredBy: 'sound', endless: 11 / 16 });
    expect(warningSigns(after, before)).toEqual([
      "69 % of 16 answers go round in loops, of the base's 0 %.",
      "31 % of 16 answers are empty, of the base's 0 %.",
      "69 % of 16 answers do not end, of the base's 0 %.",
    ]);
    expect(warningSigns(before, before)).toEqual([]);
    expect(warningSigns(after)).toEqual(['69 % of 16 answers go round in loops.']);
  });

  it('has left the language of its prompts', async () => {
    const german =
      'Der Hafen lag still im Licht, und die Boote waren nicht mehr da. Ein Mann mit einem Korb ging an der Mauer entlang, und er fragte sich, ob es auch an diesem Tag noch regnen werde, denn das Wetter war nicht gut.';
    const summary = await inspectGenerations(stubModel('drifted', { answer: () => german }), PROMPTS);
    expect(summary.drifting).toBe(1);
    expect(summary.generations[0]!.drift).toBe('de');
  });

  it('is still looked at where it gives no likelihoods', async () => {
    const silent = stubModel('chat', { answer: () => PROSE, likelihood: new ConfigError('no likelihoods') });
    const summary = await inspectGenerations(silent, PROMPTS);
    expect(summary.basePerplexity).toBeUndefined();
    expect(summary.endless).toBeUndefined();
    expect(summary.looping).toBe(0);
  });
});
