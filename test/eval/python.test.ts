import { describe, expect, it } from 'vitest';
import { compileTemplate, TemplateError } from '../../src/eval/python/jinja.ts';
import { literalEval } from '../../src/eval/python/literal.ts';
import { PythonRandom } from '../../src/eval/python/random.ts';
import { compileRegex, findAll, substitute } from '../../src/eval/python/regex.ts';
import { lengthOf, PyFloat, repr, split, strip } from '../../src/eval/python/text.ts';

// Expected values are CPython 3.11's.
describe('random.Random', () => {
  it('draws the samples that Python draws, from small pools and large ones', () => {
    const random = new PythonRandom(1234);
    const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);
    expect(random.sample(upTo(10), 3)).toEqual([7, 1, 0]);
    expect(random.sample(upTo(100), 5)).toEqual([11, 74, 4, 85, 88]);
    expect(random.sample(upTo(1000), 7)).toEqual([85, 100, 784, 363, 242, 17, 31]);
    expect(random.sample(upTo(21), 5)).toEqual([0, 11, 15, 14, 4]);
    expect(random.random()).toBe(0.09128721194781841);
    expect(new PythonRandom(2 ** 40 + 7).random()).toBe(0.6137037779936511);
  });
});

describe('text', () => {
  it('is written as repr writes it', () => {
    expect(repr(["it's", 'a "b"', `'"\n`, 'é\u200b', null, true, 5, new PyFloat(5), 1e-5, 1e16 + 0.5])).toBe(
      `["it's", 'a "b"', '\\'"\\n', 'é\\u200b', None, True, 5, 5.0, 1e-05, 10000000000000000]`,
    );
    expect(repr({ a: [1.5, new PyFloat(1e16)] })).toBe("{'a': [1.5, 1e+16]}");
  });
  it('is stripped, split and counted by Python white space and code points', () => {
    expect(strip('\x1c a\ufeff\u2003')).toBe('a\ufeff');
    expect(split(' a  b c ', null, 1)).toEqual(['a', 'b c']);
    expect(split('a,,b', ',')).toEqual(['a', '', 'b']);
    expect(lengthOf('a😀')).toBe(2);
  });
  it.each([
    [`['a', "b's", r'\\d' 'x', '\\x41\\u00e9']`, ['a', "b's", '\\dx', 'Aé']],
    ['(1, -2.5, None, True)', [1, -2.5, null, true]],
    ["{'a': [1,\n 2], 'b': ()}", { a: [1, 2], b: [] }],
    ['3', 3],
  ])('literal %s', (text, value) => {
    expect(literalEval(text)).toEqual(value);
  });
  it.each(["['a'", 'open("x")', "['it's']", '01', '[1] [2]'])('%s is no literal', (text) => {
    expect(() => literalEval(text)).toThrow(SyntaxError);
  });
});

describe('regular expressions', () => {
  it.each<[string, string, (string | string[])[]]>([
    ['#### (\\-?[0-9\\.\\,]+)', 'so #### -1,234.5', ['-1,234.5']],
    [
      '(-?[$0-9.,]{2,})|(-?[0-9]+)',
      'a $12.50 or 7',
      [
        ['$12.50', ''],
        ['', '7'],
      ],
    ],
    ['(?i)the answer is \\(?([A-D])\\b', 'The Answer is (b) the answer is D', ['b', 'D']],
    ['\\w+$', 'eins zwölf\n', ['zwölf']],
    ['(?P<x>a){,2}b', 'aab', ['a']],
    ['[^\\w\\s-]', 'a-b! c\u00a0?', ['!', '?']],
    ['\\bé\\b', 'é été', ['é']],
    ['[a-c\\-.]+', 'ab-.d', ['ab-.']],
    ['{"x": .*?}', '{"x": 1}', ['{"x": 1}']],
  ])('%s', (pattern, text, found) => {
    expect(findAll(compileRegex(pattern), text)).toEqual(found);
  });
  it('replaces groups, all or the first matches', () => {
    expect(substitute(compileRegex('(\\w)(?P<b>\\d)'), '\\g<b>-\\1', 'a1 b2')).toBe('1-a 2-b');
    expect(substitute(compileRegex('\\[.*?\\]'), '', 'x [y] [z]', 1)).toBe('x  [z]');
  });
  it.each(['a++', '(?>a)', '(?i:a)', '(a)(?(1)b)', '\\Qa'])('refuses %s by name', (pattern) => {
    expect(() => compileRegex(pattern)).toThrow(/not supported/);
  });
});

describe('templates', () => {
  const doc = {
    q: ' What? ',
    choices: { text: ["it's", 'b'], label: ['A', 'B'] },
    key: 'B',
    n: 3,
    none: null,
    yes: true,
    größe: 2,
  };
  it.each([
    ['{{q.strip()}}\n', 'What?\n'],
    ['{{choices.label.index(key)}}', '1'],
    ['{{choices.text}}', `["it's", 'b']`],
    ['{{none}} {{yes}} {{n / 1}} {{n // 2}} {{7 % n}} {{1.0}} {{größe}}', 'None True 3.0 1 1 1.0 2'],
    ['{% for t in choices.text %}{{loop.index}}. {{t}}\n{% endfor %}x', "1. it's\n2. b\nx"],
    ['{{ {"A": 0, "B": 1}[key] }}', '1'],
    ["{{q|trim|replace('?', '!')|upper}} {{'a b'.split(' ')[:-1]|join(',')}}", 'WHAT! a'],
    ["{{q|regex_replace('\\s+', '_')}}", '_What?_'],
    ['{% set x = n + 1 %}{% if x > 3 and key in ["A", "B"] %}{{x}}{% else %}-{% endif %}', '4'],
    ["{{choices.text|map('upper')|list}}{{none is none}}{{nothing is defined}}", `["IT'S", 'B']TrueFalse`],
    ["{{nothing|default('d')}} {{'yes' if yes else 'no'}} {{'a' ~ 1 ~ none}}", 'd yes a1None'],
    ['{{choices}}', `{'text': ["it's", 'b'], 'label': ['A', 'B']}`],
  ])('%s', (template, text) => {
    expect(compileTemplate(template).render(doc)).toBe(text);
  });
  it.each([
    '{{nothing}}',
    '{{choices.nothing}}',
    '{{n + key}}',
    '{{q.nothing()}}',
    '{{q|nothing}}',
    "{{'a' if n > 5}}",
    '{{n / 0}}',
  ])('%s is an error', (template) => {
    expect(() => compileTemplate(template).render(doc)).toThrow(TemplateError);
  });
  it('reaches nothing but the values it is given', () => {
    for (const name of ['constructor', '__proto__', 'toString'])
      expect(() => compileTemplate(`{{q.${name}}}`).render(doc)).toThrow(TemplateError);
    expect(() => compileTemplate("{{choices['constructor']}}").render(doc)).toThrow(TemplateError);
    expect(() => compileTemplate('{{range(1000000000)}}').render(doc)).toThrow(TemplateError);
  });
});
