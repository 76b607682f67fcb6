import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { make, run } from './helpers.ts';

const step = await make('pii');
const mask = (text: string) => run(step, text).text;
/** Written in parts, so that scanners of this repository find no secrets in it. */
const join = (...parts: string[]) => parts.join('');
const alnum = (n: number) => 'a1B2c3D4e5F6g7H8'.repeat(20).slice(0, n);

describe('pii: mail addresses', () => {
  it.each([
    ['Write to jane.doe+news@mail.corp.co.uk, please.', 'Write to email@example.com, please.'],
    ['<mailto:a_b@uni-koeln.de>', '<mailto:email@example.com>'],
    ["'o.neill@site.ie'.", "'email@example.com'."],
    ['(x@y.org)', '(email@example.com)'],
    ['a@b.com;c@d.net', 'email@example.com;email@example.com'],
  ])('masks in %s', (text, expected) => expect(mask(text)).toBe(expected));

  it.each([
    'name@example.com and info@mail.example.org',
    'root@localhost, user@host.local, x@y.test',
    'git@github.com:owner/name.git',
    'logo@2x.png and lodash@4.17.21',
    '@decorator def f(a @ b)',
    'user@host without a domain',
    'noreply@github.com',
    'a..b@c.org is none',
    '@',
    'a@',
    '@b.org',
  ])('leaves %s', (text) => expect(mask(text)).toBe(text));
});

describe('pii: IP addresses', () => {
  it.each([
    ['from 85.214.132.117 at', 'from 192.0.2.1 at'],
    ['http://85.214.132.117:8080/x', 'http://192.0.2.1:8080/x'],
    ['85.214.132.117.', '192.0.2.1.'],
    ['[2a02:8109:9ec0::12]', '[2001:db8::1]'],
    ['2a02:8109:9ec0:1a2b:3c4d:5e6f:7a8b:9c0d up', '2001:db8::1 up'],
  ])('masks in %s', (text, expected) => expect(mask(text)).toBe(expected));

  it.each([
    '127.0.0.1 10.1.2.3 192.168.1.20 172.16.5.5 169.254.1.1 100.64.1.1 0.0.0.0 255.255.255.0 224.0.0.251',
    '192.0.2.44 198.51.100.7 203.0.113.9 198.18.0.1',
    'version 85.214.132.117 and v4.12.0.3',
    'Chrome/119.45.6045.159 Safari/85.214.132.117',
    '1.3.6.1.4.1.311 and 5.4.3.2.1',
    '385.214.132.117 and 85.214.032.117 and 85.214.132.1170',
    'ask 8.8.8.8 or 1.1.1.1',
    '16.4.0.0 is out',
    'fe80::1 ::1 2001:db8::5 fd00::8 dead::beef std::vector 12:30:45',
  ])('leaves %s', (text) => expect(mask(text)).toBe(text));
});

describe('pii: keys and tokens', () => {
  it.each([
    ['AWS', join('AKIA', 'IOSFODNN7QWERTY2')],
    ['GitHub', join('ghp', '_', alnum(36))],
    ['GitHub, fine-grained', join('github_pat', '_', alnum(22), '_', alnum(59))],
    ['GitLab', join('glpat', '-', alnum(20))],
    ['Slack', join('xoxb', '-123456789012-', alnum(24))],
    ['Google', join('AIza', alnum(35))],
    ['OpenAI', join('sk', '-', alnum(48))],
    ['OpenAI, project', join('sk', '-proj-', alnum(60))],
    ['Anthropic', join('sk', '-ant-api03-', alnum(90))],
    ['Stripe', join('sk', '_live_', alnum(24))],
    ['npm', join('npm', '_', alnum(36))],
    ['JWT', join('eyJ', alnum(30), '.eyJ', alnum(60), '.', alnum(43))],
  ])('masks a key of %s', (_maker, key) => {
    expect(mask(`key = "${key}"; next`)).toBe('key = "<KEY>"; next');
    expect(run(step, `${key}\n${key}`).changes).toEqual({ 'keys and tokens': 2 });
  });

  it('masks what only its name tells', () => {
    expect(mask(`aws_secret_access_key = ${alnum(40)}`)).toBe('aws_secret_access_key = <KEY>');
    const hook = join('hooks.slack.com/services/', `T${'A1B2C3D4'}/B${'A1B2C3D4'}/${alnum(24)}`);
    expect(mask(`https://${hook}`)).toBe('https://hooks.slack.com/services/<KEY>');
  });

  it('masks private keys, whole or cut off', () => {
    const body = `${alnum(64)}\n`.repeat(6);
    const [begin, end] = [join('-----BEGIN RSA PRIVATE', ' KEY-----'), join('-----END RSA PRIVATE', ' KEY-----')];
    expect(mask(`a\n${begin}\n${body}${end}\nb`)).toBe('a\n<PRIVATE_KEY>\nb');
    expect(mask(`a\n${begin}\n${body}`)).toBe('a\n<PRIVATE_KEY>\n'.trimEnd() + '\n');
    const talk = `A file begins with ${begin} and that is how you know it.`;
    expect(mask(talk)).toBe(talk);
  });

  it.each([
    'AKIAIOSFODNN7EXAMPLE',
    'ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx',
    'task-force-of-the-very-long-name-with-hyphens',
    'da39a3ee5e6b4b0d3255bfef95601890afd80709',
    '550e8400-e29b-41d4-a716-446655440000',
    '-----BEGIN CERTIFICATE-----',
  ])('leaves %s', (text) => expect(mask(text)).toBe(text));
});

describe('pii: accounts and cards', () => {
  it.each([
    ['DE89 3704 0044 0532 0130 00 IBAN', '<IBAN> IBAN'],
    ['to GB29NWBK60161331926819.', 'to <IBAN>.'],
    ['NO93 8601 1117 947', '<IBAN>'],
    ['4539 1488 0343 6467', '<CARD>'],
    ['3782-822463-10013 or card 4539148803436467', '<CARD> or card <CARD>'],
  ])('masks in %s', (text, expected) => expect(mask(text)).toBe(expected));

  it.each([
    'DE88 3704 0044 0532 0130 00',
    'XX89 3704 0044 0532 0130 00',
    'AB12 CDEF GHIJ KLMN',
    '4539 1488 0343 6468',
    '4111 1111 1111 1111',
    'order 4539148803436467',
    '1234 5678 9012 3456',
  ])('leaves %s', (text) => expect(mask(text)).toBe(text));
});

describe('pii: telephone numbers', async () => {
  const phones = await make('pii', { phones: true });

  it('masks none unless asked', () => expect(mask('+49 221 4701234')).toBe('+49 221 4701234'));

  it.each([
    ['+49 221 4701234', '<PHONE>'],
    ['call (415) 867-5309 now', 'call <PHONE> now'],
    ['415-867-5309', '<PHONE>'],
    ['a+1234567 2019-11-21 1-2-3', 'a+1234567 2019-11-21 1-2-3'],
    ['(212) 555-0143', '(212) 555-0143'],
  ])('of %s makes %s', (text, expected) => expect(run(phones, text).text).toBe(expected));
});

describe('pii: properties', () => {
  it('switches off by kind', async () => {
    const off = await make('pii', { emails: false, ips: false, keys: false, accounts: false });
    const text = `a@b.org 85.214.132.117 ${join('AKIA', 'IOSFODNN7QWERTY2')} DE89370400440532013000`;
    expect(run(off, text).text).toBe(text);
    expect(run(step, text).text).toBe('email@example.com 192.0.2.1 <KEY> <IBAN>');
  });

  it('leaves masked text as it is', async () => {
    const phones = await make('pii', { phones: true });
    const part = fc.constantFrom(
      ...[
        'jane@corp.de',
        '85.214.132.117',
        '2a02:8109::12',
        'DE89 3704 0044 0532 0130 00',
        '4539 1488 0343 6467',
        '+49 221 4701234',
      ],
      ...[
        join('AKIA', 'IOSFODNN7QWERTY2'),
        join('ghp', '_', alnum(36)),
        join('-----BEGIN PRIVATE', ' KEY-----\n', alnum(80)),
      ],
      ...[' ', '\n', '.', '@', ':', '1', 'a', '-', '/', '"', '+', '(', 'é'],
    );
    fc.assert(
      fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
        const once = run(phones, parts.join(''));
        expect(run(phones, once.text)).toMatchObject({ text: once.text, changes: {} });
      }),
      { numRuns: 3000, seed: 2 },
    );
  });
});
