// Documents that rules decide in many ways: pieces of the demo's texts, changed by their number. `node test/corpus/steps/variants.mjs` prints
// them as JSON lines, for datatrove to judge (test/python/datatrove_fixtures.py).
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';

const PIECES = 30;
const PIECE_CHARS = 2500;

function texts(name) {
  const file = fileURLToPath(new URL(`../../../data/demo/${name}.jsonl.gz`, import.meta.url));
  const lines = gunzipSync(readFileSync(file)).toString().trimEnd().split('\n');
  return lines.map((line) => JSON.parse(line).text).filter((text) => text.length > PIECE_CHARS);
}

const words = (text) => text.split(/\s+/).filter(Boolean);
const sentences = (text) => text.replaceAll(/\s+/g, ' ').split(/(?<=[.!?]) /);

/** Each makes of a text and a number another text. */
const CHANGES = [
  (text) => text,
  (text) => text.replaceAll(/([^\n])\n([^\n])/g, '$1 $2'),
  (text, i) =>
    words(text)
      .slice(0, 30 + i)
      .join(' '),
  (text) => sentences(text).join('\n'),
  (text) =>
    sentences(text)
      .map((line) => `- ${line}`)
      .join('\n'),
  (text, i) =>
    sentences(text)
      .map((line, j) => (j % 5 < i % 5 ? line.replace(/[.!?]$/, '...') : line))
      .join('\n'),
  (text, i) =>
    sentences(text)
      .flatMap((line, j) => (j % 10 < i % 6 ? [line, line] : [line]))
      .join('\n'),
  (text, i) =>
    `${text.slice(0, 1200)}\n\n${`${words(text)
      .slice(0, 3 + (i % 8))
      .join(' ')} `.repeat(5 + i)}`,
  (text, i) =>
    words(text)
      .map((word, j) => (j % 10 < i % 5 ? `#${word}` : word))
      .join(' '),
  (text, i) =>
    words(text)
      .map((word, j) => (j % 10 < i % 5 ? String(1000 + j) : word))
      .join(' '),
  (text) =>
    words(text)
      .filter((word) => word.length > 6)
      .join(' '),
  (text) =>
    words(text)
      .filter((word) => word.length < 4)
      .join(' '),
  (text, i) =>
    words(text)
      .map((word, j) => (j % (2 + (i % 9)) === 0 ? `${word}\n` : word))
      .join(' '),
  (text, i) =>
    sentences(text)
      .map((line, j) => (j === i ? `${line} {x}` : j % 7 === i % 7 ? `Enable JavaScript. ${line}` : line))
      .join('\n'),
  (text, i) =>
    sentences(text)
      .map((line, j) => (j % 4 === i % 4 ? `${line.slice(0, -1)}[${j}].` : line.slice(0, 200 - i)))
      .join('\n'),
  (text, i) => `${text.slice(0, 400)}\n\n`.repeat(2 + (i % 4)) + text.slice(400, 400 + 40 * i),
];

/** @returns {{ id: string, text: string }[]} */
export function variants() {
  const all = [...texts('english'), ...texts('postgres-docs')];
  const stride = Math.floor(all.length / PIECES);
  return Array.from({ length: PIECES }, (_, i) => all[i * stride].slice(0, PIECE_CHARS)).flatMap((text, i) =>
    CHANGES.map((change, j) => ({ id: `${i}-${j}`, text: change(text, i).trim() })),
  );
}

if (process.argv[1] === fileURLToPath(import.meta.url))
  for (const document of variants()) console.log(JSON.stringify(document));
