// Our detection over eld's tables against eld itself: the same language and the same scores, to the last bit.
import * as fs from 'node:fs';
import * as zlib from 'node:zlib';
import { eld } from 'eld/extrasmall';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { type DetectLanguage, loadDetector } from '../../../src/corpus/curate/steps/language-detector.ts';

let detect: DetectLanguage;
beforeAll(async () => {
  detect = await loadDetector();
});

function expectSame(text: string): void {
  const found = eld.detect(text);
  const { language, scores } = detect(text);
  expect({ language, scores: Object.fromEntries(scores) }).toEqual({
    language: found.language,
    scores: found.getScores(),
  });
}

const SAMPLES = [
  'It was the best of times, it was the worst of times. ',
  'Alle Menschen sind frei und gleich an Würde und Rechten geboren. ',
  'Все люди рождаются свободными и равными в своем достоинстве и правах. ',
  'すべての人間は、生れながらにして自由であり、かつ、尊厳と権利とについて平等である。',
  'يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. ',
  'Tous les êtres humains naissent libres et égaux en dignité et en droits. ',
  '모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. ',
];

describe('detection', () => {
  it('is not the fallback', () => {
    expect(detect.name).not.toBe('own');
  });

  it("equals eld's on text of the demo, in pieces", () => {
    const lines = zlib.gunzipSync(fs.readFileSync('data/demo/english.jsonl.gz')).toString().trimEnd().split('\n');
    for (const line of lines.slice(0, 300)) {
      const { text } = JSON.parse(line) as { text: string };
      for (let i = 0; i < Math.min(5, text.length / 201); i++) expectSame(text.slice(201 * i, 201 * i + 201));
    }
  });

  it("equals eld's on any text", () => {
    const piece = fc.oneof(
      fc.constantFrom(...SAMPLES),
      fc.string({ unit: 'binary', maxLength: 40 }),
      fc.string({ unit: 'grapheme', maxLength: 40 }),
      fc.constantFrom(
        'a',
        'ab',
        'the',
        ' ',
        '\n',
        '1',
        'İ',
        '\ud800',
        'x'.repeat(69),
        'x'.repeat(71),
        'é'.repeat(40),
        '中'.repeat(130),
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 20 }), (pieces) => {
        expectSame(pieces.join(''));
        expectSame(pieces.join(' '));
      }),
      { numRuns: 1500 },
    );
  });
});
