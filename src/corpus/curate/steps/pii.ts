// Personal data and secrets, masked by fixed stand-ins and counted. Found by shape and, where there is one, by checksum: what has only the
// length of a secret stays, and so do addresses set aside for examples (RFC 2606, 5737, 3849), private networks and version numbers.
// Stand-ins: FineWeb's for mail (Penedo et al. 2024), addresses for documentation for IPs (FineWeb takes addresses of strangers),
// StarCoder's manner for the rest (Li et al. 2023, arXiv 2305.06161, section 4).
import { isIPv6 } from 'node:net';
import type { CleanOptions } from '../../../config/index.ts';
import { longRuns, unitSet } from '../runs.ts';
import type { Step } from '../types.ts';
import { unitsOf } from '../words.ts';

export const PII = { emails: true, ips: true, phones: false, keys: true, accounts: true };

const MAIL = 'email@example.com';
const IPV4 = '192.0.2.1';
const IPV6 = '2001:db8::1';
const PHONE = '<PHONE>';
const KEY = '<KEY>';
const PRIVATE_KEY = '<PRIVATE_KEY>';
const IBAN = '<IBAN>';
const CARD = '<CARD>';

interface Found {
  start: number;
  end: number;
  by: string;
  what: string;
}

export function pii(options: CleanOptions<'pii'>): Step {
  const rules = { ...PII, ...options };
  return {
    name: 'pii',
    apply(view) {
      const changes: Record<string, number> = {};
      let text = view.text;
      for (let round = 0; round < MAX_ROUNDS; round++) {
        const found = findAll(text, rules);
        if (found.length === 0) break;
        text = masked(text, found, changes);
      }
      return text === view.text ? undefined : { text, changes };
    },
  };
}

/** A stand-in may part what hid something else: "a@b.org-----BEGIN PRIVATE KEY-----". */
const MAX_ROUNDS = 8;

function findAll(text: string, rules: typeof PII): Found[] {
  return [
    ...(rules.keys ? findPrivateKeys(text) : []),
    ...(rules.keys ? findKeys(text) : []),
    ...(rules.emails ? findMailAddresses(text) : []),
    ...(rules.ips ? findIpv4(text) : []),
    ...(rules.ips ? findIpv6(text) : []),
    ...(rules.accounts ? findIbans(text) : []),
    ...(rules.accounts ? findCards(text) : []),
    ...(rules.phones ? findPhones(text) : []),
  ];
}

/** Of what overlaps, the one that begins first, the longest of those. */
function masked(text: string, found: Found[], changes: Record<string, number>): string {
  found.sort((a, b) => a.start - b.start || b.end - a.end);
  const parts: string[] = [];
  let end = 0;
  for (const one of found) {
    if (one.start < end) continue;
    parts.push(text.slice(end, one.start), one.by);
    end = one.end;
    changes[one.what] = (changes[one.what] ?? 0) + 1;
  }
  parts.push(text.slice(end));
  return parts.join('');
}

// ---- Mail addresses

/** Lengths of RFC 5321. */
const MAX_LOCAL = 64;
const MAX_DOMAIN = 255;
const LOCAL = /[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]/;
const DOMAIN = /[A-Za-z0-9.-]/;
/** Of RFC 2606 and 6761, and what programs write instead of a domain. */
const EXAMPLE_DOMAIN = /(?:^|\.)(?:example\.(?:com|org|net|edu)|example|test|invalid|localhost|local|localdomain)$/i;
const TOP_LEVEL = /\.(?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{1,59})$/;
/** Files of images in several densities, and versions of packages: icon@2x.png, lodash@4.17. */
const NOT_A_DOMAIN = /^(?:\d+x|v?\d+)\.|\.(?:png|jpe?g|gif|webp|svg|css|js|mjs|ts|py|md|txt|html?)$/i;
/** What git takes for a user at a host, and machines that answer nobody. */
const NOBODY = /^(?:git|hg|svn|noreply|no-reply|donotreply|do-not-reply)$/i;

function* findMailAddresses(text: string): Generator<Found> {
  for (let at = text.indexOf('@'); at >= 0; at = text.indexOf('@', at + 1)) {
    let start = at;
    while (start > 0 && at - start <= MAX_LOCAL && LOCAL.test(text[start - 1]!)) start--;
    // In "see <mailto:a@b.org>" or "'a@b.org'" signs in front are no part of it.
    while (start < at && /[^A-Za-z0-9_]/.test(text[start]!)) start++;
    let end = at + 1;
    while (end < text.length && end - at <= MAX_DOMAIN && DOMAIN.test(text[end]!)) end++;
    while (end > at && /[.-]/.test(text[end - 1]!)) end--;
    if (at - start < 1 || at - start > MAX_LOCAL || end - at > MAX_DOMAIN) continue;
    const [local, domain] = [text.slice(start, at), text.slice(at + 1, end)];
    if (local.endsWith('.') || local.includes('..') || domain.includes('..') || /^[.-]/.test(domain)) continue;
    if (!TOP_LEVEL.test(domain) || NOT_A_DOMAIN.test(domain) || EXAMPLE_DOMAIN.test(domain) || NOBODY.test(local))
      continue;
    // user:password@host of a URL, and scp's user@host:path
    if (text[end] === '@' || text[end] === '_') continue;
    yield { start, end, by: MAIL, what: 'mail addresses' };
  }
}

// ---- IP addresses

const HAS_IPV4 = /\d\.\d{1,3}\.\d{1,3}\.\d/;
const IPV4_SHAPE = /(?<![\w.+-])(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?![\w-]|\.\d)/g;
/** A version, a part of a product's name as in "Chrome/120.0.6099.71", a section, an object identifier. */
const VERSION_BEFORE =
  /(?:\b(?:version|ver|release|rev|revision|build|firmware|section|chapter|clause|oid|v)[\s.:=#]{0,3}|[A-Za-z]\/)$/i;
/** Name servers open to everybody, and the address that stands for "some address". */
const PUBLIC_SERVICES = new Set([
  '1.1.1.1',
  '1.0.0.1',
  '8.8.8.8',
  '8.8.4.4',
  '9.9.9.9',
  '208.67.222.222',
  '208.67.220.220',
  '1.2.3.4',
]);

function* findIpv4(text: string): Generator<Found> {
  if (!HAS_IPV4.test(text)) return;
  for (const match of text.matchAll(IPV4_SHAPE)) {
    const { index, 0: shape } = match;
    const parts = match.slice(1, 5).map(Number);
    if (parts.some((part, i) => part > 255 || match[i + 1] !== String(part)) || !isPersonal(parts, shape)) continue;
    if (VERSION_BEFORE.test(text.slice(Math.max(0, index - 12), index))) continue;
    yield { start: index, end: index + shape.length, by: IPV4, what: 'IP addresses' };
  }
}

/** Public (IANA's registry of special addresses) and of one machine: "2.5.0.0" is a network or a version. */
function isPersonal([a, b, c, d]: number[], shape: string): boolean {
  if (a === 0 || a === 10 || a === 127 || a! >= 224) return false;
  if (c === 0 && d === 0) return false;
  if (a === 100 && b! >= 64 && b! < 128) return false;
  if (a === 169 && b === 254) return false;
  if (a === 172 && b! >= 16 && b! < 32) return false;
  if (a === 192 && (b === 168 || (b === 0 && (c === 0 || c === 2)) || (b === 88 && c === 99))) return false;
  if (a === 198 && (b === 18 || b === 19 || (b === 51 && c === 100))) return false;
  if (a === 203 && b === 0 && c === 113) return false;
  return !PUBLIC_SERVICES.has(shape);
}

/** Global unicast begins with 2 or 3: "ab::cd" of a program is none. */
const IPV6_SHAPE = /(?<![\w:.])[23][0-9A-Fa-f]{3}(?::[0-9A-Fa-f]{0,4}){2,7}(?![\w:])/g;

function* findIpv6(text: string): Generator<Found> {
  if (!text.includes(':')) return;
  for (const { index, 0: shape } of text.matchAll(IPV6_SHAPE)) {
    if (!isIPv6(shape) || /^2001:0?db8:/i.test(shape) || /^2001:(?:4860:4860|0?4860:)/i.test(shape)) continue;
    yield { start: index, end: index + shape.length, by: IPV6, what: 'IP addresses' };
  }
}

// ---- Keys and tokens

const BEGIN_KEY = /-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----/g;
const END_KEY = /-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----/;
/** A key of 16384 bits in base64 with line ends; beyond that the end is missing. */
const MAX_KEY_CHARS = 20_000;
/** What stands behind the first line of a key without end. */
const KEY_BODY = /[A-Za-z0-9+/=\s\\:,-]{0,20000}/y;

function* findPrivateKeys(text: string): Generator<Found> {
  if (!text.includes('PRIVATE KEY')) return;
  let behind = 0;
  for (const { index, 0: begin } of text.matchAll(BEGIN_KEY)) {
    if (index < behind) continue;
    const bodyStart = index + begin.length;
    const endMark = END_KEY.exec(text.slice(bodyStart, bodyStart + MAX_KEY_CHARS));
    let end: number;
    if (endMark) end = bodyStart + endMark.index + endMark[0].length;
    else {
      KEY_BODY.lastIndex = bodyStart;
      const body = KEY_BODY.exec(text)![0];
      // A sentence about such lines has no body.
      if (body.replaceAll(/\s/g, '').length < 64 || / [a-z]+ [a-z]+ /.test(body)) continue;
      end = bodyStart + body.trimEnd().length;
    }
    behind = end;
    yield { start: index, end, by: PRIVATE_KEY, what: 'private keys' };
  }
}

/** Shapes that their makers publish, as secret scanners look for them (GitHub's list of supported secrets; gitleaks' rules). */
const TOKENS = new RegExp(
  `(?<![A-Za-z0-9_])(?:${[
    '(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}',
    'gh[pousr]_[A-Za-z0-9]{36,255}',
    'github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}',
    'glpat-[A-Za-z0-9_-]{20,255}',
    'xox[abeoprs]-[A-Za-z0-9-]{15,255}',
    'xapp-\\d-[A-Z0-9]{1,20}-\\d{1,20}-[a-f0-9]{32,255}',
    'AIza[A-Za-z0-9_-]{35}',
    'GOCSPX-[A-Za-z0-9_-]{28}',
    'ya29\\.[A-Za-z0-9_-]{30,255}',
    'sk-ant-[A-Za-z0-9_-]{32,255}',
    'sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{32,255}',
    'sk-[A-Za-z0-9]{32,64}',
    '(?:sk|rk)_live_[A-Za-z0-9]{20,255}',
    'whsec_[A-Za-z0-9]{32,255}',
    'npm_[A-Za-z0-9]{36}',
    'hf_[A-Za-z]{34,255}',
    'pypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{50,255}',
    'SG\\.[A-Za-z0-9_-]{22}\\.[A-Za-z0-9_-]{43}',
    'dop_v1_[a-f0-9]{64}',
    'eyJ[A-Za-z0-9_-]{10,1000}\\.eyJ[A-Za-z0-9_-]{10,4000}\\.[A-Za-z0-9_-]{10,1000}',
  ].join('|')})(?![A-Za-z0-9_])`,
  'g',
);
const SLACK_HOOK = /hooks\.slack\.com\/services\/(T[A-Z0-9]{8,12}\/B[A-Z0-9]{8,12}\/[A-Za-z0-9]{24})/g;
/** A secret of AWS looks like any base64; its name in front tells it. */
const AWS_SECRET = /aws.{0,20}?secret.{0,20}?[=:]["'\s]{0,4}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])/gi;
/** AWS writes this into its own documentation. */
const EXAMPLE_TOKEN = /EXAMPLE|(?:x|X|\*|0){12}/;

/** No token is shorter. */
const MIN_TOKEN = 20;
const TOKEN_UNITS = unitSet('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.');

function* findKeys(text: string): Generator<Found> {
  for (const { start, end } of longRuns(unitsOf(text), TOKEN_UNITS, MIN_TOKEN))
    for (const match of text.slice(start, end).matchAll(TOKENS)) yield* keyAt(start + match.index, match[0]);
  for (const [hint, shape] of [
    ['hooks.slack.com/', SLACK_HOOK],
    ['ecret', AWS_SECRET],
  ] as const)
    if (text.includes(hint) || text.includes(hint.toUpperCase()))
      for (const match of text.matchAll(shape))
        yield* keyAt(match.index + match[0].length - match[1]!.length, match[1]!);
}

function* keyAt(start: number, found: string): Generator<Found> {
  if (EXAMPLE_TOKEN.test(found)) return;
  yield { start, end: start + found.length, by: KEY, what: 'keys and tokens' };
}

// ---- Bank accounts and payment cards

const IBAN_SHAPE = /(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])/g;
/** Of each country (SWIFT's IBAN registry). */
const IBAN_LENGTHS: ReadonlyMap<string, number> = new Map(
  (
    'AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 FO18 FR27 GB22 GE22 GI23 ' +
    'GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 ' +
    'NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20'
  )
    .split(' ')
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);

function* findIbans(text: string): Generator<Found> {
  for (const { index, 0: shape } of text.matchAll(IBAN_SHAPE)) {
    // What follows with a space may be the next word: "... 00 IBAN".
    for (let end = shape.length; end > 0; end = shape.lastIndexOf(' ', end - 1)) {
      const compact = shape.slice(0, end).replaceAll(' ', '');
      const length = IBAN_LENGTHS.get(compact.slice(0, 2));
      if (length === undefined || compact.length < length) break;
      if (compact.length > length || !hasIbanChecksum(compact)) continue;
      yield { start: index, end: index + end, by: IBAN, what: 'bank accounts' };
      break;
    }
  }
}

/** ISO 7064 modulo 97. */
function hasIbanChecksum(iban: string): boolean {
  let rest = 0;
  for (const letter of iban.slice(4) + iban.slice(0, 4)) {
    const value = Number.parseInt(letter, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest === 1;
}

const HAS_LONG_NUMBER = /\d{4}[ -]?\d{4}[ -]?\d|3[47]\d\d[ -]?\d{6}/;
const CARD_SHAPE =
  /(?<![\w.+-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -])\d{6}\2\d{5}|\d{13,16})(?![\w-]|\.\d)/g;
/** Visa, Mastercard, American Express, Discover, by their first digits and lengths (ISO/IEC 7812). */
const ISSUER =
  /^(?:4\d{12}(?:\d{3})?|5[1-5]\d{14}|(?:222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}|6(?:011|5\d\d|4[4-9]\d)\d{12})$/;
/** Numbers that issuers and payment services publish for tests. */
const TEST_CARDS = new Set([
  ...[
    '4111111111111111',
    '4242424242424242',
    '4012888888881881',
    '4000056655665556',
    '4222222222222',
    '5555555555554444',
  ],
  ...[
    '5105105105105100',
    '5200828282828210',
    '2223003122003222',
    '378282246310005',
    '371449635398431',
    '6011111111111117',
    '6011000990139424',
  ],
]);
/** One in ten numbers has the checksum, so a number without spaces needs a word in front of it. */
const CARD_BEFORE = /(?:card|visa|master ?card|amex|american express|discover|credit|debit|\bcc|\bpan)\b.{0,40}$/i;

function* findCards(text: string): Generator<Found> {
  if (!HAS_LONG_NUMBER.test(text)) return;
  for (const { index, 0: shape, 1: space, 2: amexSpace } of text.matchAll(CARD_SHAPE)) {
    const digits = shape.replaceAll(/[ -]/g, '');
    if (!ISSUER.test(digits) || TEST_CARDS.has(digits) || !hasLuhnChecksum(digits)) continue;
    const isGrouped = (space ?? amexSpace) !== undefined;
    if (!isGrouped && !CARD_BEFORE.test(text.slice(Math.max(0, index - 60), index))) continue;
    yield { start: index, end: index + shape.length, by: CARD, what: 'payment cards' };
  }
}

/** ISO/IEC 7812-1, annex B. */
function hasLuhnChecksum(digits: string): boolean {
  let sum = 0;
  for (let i = 0; i < digits.length; i++) {
    const digit = Number(digits[digits.length - 1 - i]);
    sum += i % 2 === 0 ? digit : digit < 5 ? 2 * digit : 2 * digit - 9;
  }
  return sum % 10 === 0;
}

// ---- Telephone numbers

const PHONE_SHAPE =
  /(?<![\w+.-])(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}|\(\d{3}\) ?\d{3}[ .-]\d{4}|\d{3}-\d{3}-\d{4})(?![\w-]|\.\d)/g;

/** International numbers with their "+", of 8 to 15 digits (E.164), and North American ones in their usual form; 555-01xx are for films. */
function* findPhones(text: string): Generator<Found> {
  for (const { index, 0: shape } of text.matchAll(PHONE_SHAPE)) {
    const digits = shape.replaceAll(/\D/g, '');
    if (digits.length < 8 || digits.length > 15 || /555[ .-]?01\d\d$/.test(shape)) continue;
    yield { start: index, end: index + shape.length, by: PHONE, what: 'phone numbers' };
  }
}
