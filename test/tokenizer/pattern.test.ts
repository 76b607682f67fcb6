// Oniguruma patterns in JavaScript: membership of every code point, and what is refused.
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { compilePattern, translatePattern, UnsupportedPattern } from '../../src/tokenizer/pattern.ts';
import { readFixture } from './fixtures.ts';

const digests = readFixture<Record<string, { count: number; sha256: string }>>('classes');

// The table of what Unicode 17 added is subtracted; a Node with another Unicode has other properties to begin with.
describe.skipIf(process.versions.unicode !== '17.0')('classes over all code points, as Oniguruma has them', () => {
  it.each(Object.entries(digests))('%s', (pattern, expected) => {
    const expression = compilePattern(`(?:${pattern})`, 'y');
    const found: string[] = [];
    for (let code = 0; code < 0x110000; code++) {
      if (code === 0xd800) code = 0xe000;
      expression.lastIndex = 0;
      if (expression.test(String.fromCodePoint(code))) found.push(code.toString(16));
    }
    const sha256 = createHash('sha256').update(found.join(' ')).digest('hex');
    expect({ count: found.length, sha256 }).toEqual(expected);
  });
});

describe('syntax', () => {
  const all = (pattern: string, text: string) => text.match(compilePattern(pattern, 'g')) ?? [];

  it.each<[string, string, string[]]>([
    ['^a', 'a\nab\nba', ['a', 'a']],
    ['a$', 'a\nba\nab', ['a', 'a']],
    ['a++a', 'aaaa', []],
    ['(?>a+|b)c', 'aac bc', ['aac', 'bc']],
    ['x{2,3}', 'xxxxx', ['xxx', 'xx']],
    ['x{,2}y', 'xxxy', ['xxy']],
    ["(?i:'s|'t)x?", "'S 's 'ſ 'T 'u", ["'S", "'s", "'ſ", "'T"]],
    ["(?i)k|'d", "k K \u212a 'D", ['k', 'K', '\u212a', "'D"]],
    ['[^\\]\\-a-c]', 'abc]-d', ['d']],
    ['[\\p{L}&&[^a-y]]', 'xyz', ['z']],
    ['\\x41|\\x{1F600}|\\u00e9', 'A😀é', ['A', '😀', 'é']],
    ['[/#&~"\'`]', '/#&~"\'`', ['/', '#', '&', '~', '"', "'", '`']],
    ['(?<=a)b|(?<!a)c', 'abcac', ['b', 'c']],
    ['\\s', '\u0085\ufeff\u00a0\u180e', ['\u0085', '\u00a0']],
    ['.', 'a\r\n', ['a', '\r']],
  ])('%s on %j', (pattern, text, expected) => {
    expect(all(pattern, text)).toEqual(expected);
  });

  it.each([
    '\\w',
    '\\h',
    '\\X',
    '\\1',
    '(?i:ss)',
    '(?<name>a)',
    '[[:alpha:]]',
    'a{2}+',
    '\\p{Nonsense}',
    '(a',
    'a)',
    '(?x: a)',
    '[]',
  ])('refuses %s rather than guess', (pattern) => {
    expect(() => translatePattern(pattern)).toThrow(UnsupportedPattern);
  });
});
