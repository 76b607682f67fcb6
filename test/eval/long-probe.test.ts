import { describe, expect, it } from 'vitest';
import { probeLongContext } from '../../src/eval/index.ts';
import { heatMaps, heatTable } from '../../src/report/index.ts';
import { stubModel } from './stub-model.ts';

const countTokens = (text: string): number => text.split(/\s+/).length;
/** Reads the last 900 words alone: what was said before them is lost. */
const forgetful = stubModel('forgetful', {
  answer: (prompt) => prompt.split(/\s+/).slice(-900).join(' '),
  maxTokens: 4096,
});
const probe = {
  kinds: ['niah_single_2', 'vt'] as const,
  lengths: [1000, 3000],
  depths: [0, 1],
  numSamples: 3,
  seed: 0,
  countTokens,
};

describe('a probe by length and depth', () => {
  it('finds how far back a model reads', async () => {
    const cells = await probeLongContext(forgetful, { ...probe, kinds: ['niah_single_2'] });
    const at = (length: number, depth: number) => cells.find((cell) => cell.length === length && cell.depth === depth)!;
    expect(at(3000, 0).score).toBe(0);
    expect(at(3000, 1).score).toBe(1);
    expect(at(1000, 1).score).toBe(1);
    // Three samples show little.
    expect(at(3000, 0).high).toBeGreaterThan(0.5);
    expect(await probeLongContext(forgetful, { ...probe, kinds: ['niah_single_2'] })).toEqual(cells);
  });

  it('refuses lengths beyond the context by name', async () => {
    await expect(probeLongContext(forgetful, { ...probe, lengths: [8000] })).rejects.toThrow(
      'lengths: forgetful has a context of 4096 tokens, found 8000.',
    );
  });

  it('is drawn, and stands as a table', async () => {
    const cells = await probeLongContext(forgetful, probe);
    const svg = heatMaps([{ model: 'runs/a/step-1', cells }]);
    expect(svg).toMatch(/^<svg xmlns/);
    expect(svg).not.toMatch(/NaN|undefined|var\(/);
    expect(svg).toContain('3000 tokens, depth 100 %: 100 %');
    expect(heatTable({ model: 'a', cells }).rows[0]).toEqual(['niah_single_2', '0 %', '100', '0']);
  });
});
