// The main content of labelled pages beside trafilatura and Readability, by the measures of two labelled sets: shingles of four words
// (github.com/scrapinghub/article-extraction-benchmark: ground-truth.json and html/*.html.gz), and sentences that must and must not be there
// (github.com/adbar/trafilatura, tests/: evaldata.json and eval/*.html). Neither set comes with the repository.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { root } from './lib/models.mjs';
import { readOptions, refuse } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- html [options]

  --articles DIR   a checkout of article-extraction-benchmark
  --sentences DIR  the folder tests/ of a checkout of trafilatura
  --python PY      a Python with trafilatura and readability-lxml from PyPI; without it ours alone
  --save           writes bench/results/html.json
  --json           the record as the last line`;

const options = readOptions(USAGE, { articles: undefined, sentences: undefined, python: undefined });
if (!options.articles && !options.sentences) refuse(USAGE);
const { extractPage } = await import(path.join(root, 'dist/corpus/html/extract.js'));
const { decodePage } = await import(path.join(root, 'dist/corpus/html/decode.js'));
const { normalizeText } = await import(path.join(root, 'dist/corpus/text.js'));

const NUM_WORDS = 4;
const words = (text) => text.match(/[\p{L}\p{N}_]+/gu) ?? [];

function shingles(text) {
  const list = words(text);
  const counts = new Map();
  for (let i = 0; i < Math.max(1, list.length - NUM_WORDS + 1); i++) {
    const shingle = list.slice(i, i + NUM_WORDS).join(' ');
    if (shingle !== '') counts.set(shingle, (counts.get(shingle) ?? 0) + 1);
  }
  return counts;
}

/** Of one page: shingles in both, in the result alone, in the truth alone. */
function compareShingles(truth, result) {
  const [a, b] = [shingles(truth), shingles(result)];
  let [both, extra, missing] = [0, 0, 0];
  for (const shingle of new Set([...a.keys(), ...b.keys()])) {
    const [wanted, found] = [a.get(shingle) ?? 0, b.get(shingle) ?? 0];
    both += Math.min(wanted, found);
    extra += Math.max(0, found - wanted);
    missing += Math.max(0, wanted - found);
  }
  return { both, extra, missing };
}

const mean = (list) => list.reduce((sum, x) => sum + x, 0) / list.length;
const harmonic = (precision, recall) => ({ precision, recall, f1: (2 * precision * recall) / (precision + recall) });

/** Means over pages, as that benchmark takes them. */
function scoreArticles(pages, texts) {
  const compared = pages.map(({ truth }, i) => compareShingles(truth, texts[i]));
  const ratio = (both, other) => (both + other === 0 ? undefined : both / (both + other));
  const precisions = compared.map(({ both, extra }) => ratio(both, extra)).filter((x) => x !== undefined);
  const recalls = compared.map(({ both, missing }) => ratio(both, missing)).filter((x) => x !== undefined);
  return harmonic(mean(precisions), mean(recalls));
}

const collapse = (text) => text.replace(/\s+/g, ' ').trim();

function scoreSentences(pages, texts) {
  let [found, missed, extra] = [0, 0, 0];
  pages.forEach(({ wanted, unwanted }, i) => {
    const text = collapse(texts[i]);
    for (const sentence of wanted) text.includes(collapse(sentence)) ? found++ : missed++;
    for (const sentence of unwanted) if (text.includes(collapse(sentence))) extra++;
  });
  return harmonic(found / (found + extra), found / (found + missed));
}

function articles(folder) {
  const truths = JSON.parse(fs.readFileSync(path.join(folder, 'ground-truth.json'), 'utf8'));
  return Object.entries(truths).map(([key, { articleBody = '' }]) => ({
    truth: articleBody,
    html: zlib.gunzipSync(fs.readFileSync(path.join(folder, 'html', `${key}.html.gz`))),
  }));
}

function sentences(folder) {
  const items = Object.values(JSON.parse(fs.readFileSync(path.join(folder, 'evaldata.json'), 'utf8')));
  return items
    .map((item) => ({ ...item, path: path.join(folder, 'eval', item.file) }))
    .filter((item) => fs.existsSync(item.path))
    .map((item) => ({ wanted: item.with, unwanted: item.without, html: fs.readFileSync(item.path) }));
}

function ours(pages) {
  const before = process.cpuUsage();
  const texts = pages.map(({ html }) => {
    const page = decodePage(html);
    const content = 'reason' in page ? page : extractPage(page.text, false);
    return 'reason' in content ? '' : normalizeText(content.text);
  });
  const { user, system } = process.cpuUsage(before);
  return { texts, seconds: (user + system) / 1e6 };
}

const PEERS = `
import json, sys, time
import trafilatura, readability
from lxml import html
name, source, target = sys.argv[1:4]
pages = [open(path, 'rb').read() for path in json.load(open(source))]
def by_readability(page):
    summary = readability.Document(page.decode('utf-8', 'replace')).summary()
    return html.fromstring(summary).text_content() if summary.strip() else ''
def safely(extract, page):
    try:
        return extract(page) or ''
    except Exception:
        return ''
extract = by_readability if name == 'readability' else (lambda page: trafilatura.extract(page, include_comments=False))
start = time.process_time()
texts = [safely(extract, page) for page in pages]
json.dump({'texts': texts, 'seconds': time.process_time() - start}, open(target, 'w'))
`;

function peer(name, pages) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
  try {
    const files = pages.map(({ html }, i) => {
      const file = path.join(folder, `${i}.html`);
      fs.writeFileSync(file, html);
      return file;
    });
    const [source, target] = ['source.json', 'target.json'].map((file) => path.join(folder, file));
    fs.writeFileSync(source, JSON.stringify(files));
    const { status } = spawnSync(options.python, ['-c', PEERS, name, source, target], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    if (status !== 0)
      throw new Error(`${options.python} ended with ${status}. Has it trafilatura and readability-lxml?`);
    return JSON.parse(fs.readFileSync(target, 'utf8'));
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** The title is our first line, and no part of what articles are labelled with. */
const withoutTitle = (text) => text.replace(/^(?:# [^\n]*\n*)+/, '');

const rows = [];
for (const [set, read, score] of [
  ['articles', articles, scoreArticles],
  ['sentences', sentences, scoreSentences],
]) {
  if (!options[set]) continue;
  const pages = read(options[set]);
  const megabytes = pages.reduce((sum, { html }) => sum + html.length, 0) / 1e6;
  const add = (side, { texts, seconds }) =>
    rows.push({ set, pages: pages.length, side, ...score(pages, texts), megabytesPerSecond: megabytes / seconds });
  const own = ours(pages);
  add('ours', own);
  if (set === 'articles') add('ours, less the title', { ...own, texts: own.texts.map(withoutTitle) });
  for (const name of options.python ? ['trafilatura', 'readability'] : []) add(name, peer(name, pages));
}
printTable([
  ['set', 'pages', 'side', 'F1', 'precision', 'recall', 'MB/s'],
  ...rows.map(({ set, pages, side, f1, precision, recall, megabytesPerSecond }) => [
    ...[set, pages, side],
    ...[f1, precision, recall].map((x) => x.toFixed(3)),
    megabytesPerSecond.toFixed(1),
  ]),
]);
const results = rows.map((row) =>
  Object.fromEntries(Object.entries(row).map(([key, x]) => [key, typeof x === 'number' ? round(x, 4) : x])),
);
const record = { ...provenance('html'), results };
if (options.save) saveRecord('html', record);
if (options.json) console.log(JSON.stringify(record));
