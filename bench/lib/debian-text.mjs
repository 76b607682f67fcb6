// A corpus as a crawl would leave it, of what Debian packages hold: manual pages, HTML manuals, plain texts, as JSON lines of documents of
// 1 to 100 kB. Found on this machine, and in the packages that recipes/base-en/gather.mjs fetched; never committed.
import * as crypto from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { root } from './models.mjs';

const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'continuo');
/** Raise it when the same packages would give other documents. */
const VERSION = 1;
const PACKAGES = path.join(cache, 'base-text/packages');
const FOLDERS = [PACKAGES, '/usr/share/doc', '/usr/share/perl', '/usr/share/man'];
const PLAIN = /\.(?:txt|md|rst|pod)(?:\.gz)?$|\/(?:README|NEWS|changelog)[^/]*$/i;
const MANUAL = /\/man\/man\d\/[^/]*\.gz$|\/man\d\/[^/]*\.\d\w*\.gz$/;
const PAGE = /\.html?$/;
/** Translations: the filters are for English. */
const TRANSLATED =
  /\/help\/(?!C\/)|\/man\/(?!man\d)|\/html\/(?!en)[a-z]{2}(?:[-_][A-Z]{2})?\/|\.(?!en\b)[a-z]{2}(?:_[A-Z]{2})?\.html$/;
const [MIN_BYTES, MAX_BYTES] = [1000, 100_000];
const MAX_FILE_BYTES = 4 << 20;
const FILE_BYTES = 64e6;
const MIN_FILES = 16;

function* filesUnder(folder) {
  let entries;
  try {
    entries = fs.readdirSync(folder, { withFileTypes: true });
  } catch {
    return;
  }
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const file = path.join(folder, entry.name);
    if (entry.isDirectory()) yield* filesUnder(file);
    else if (entry.isFile() && !TRANSLATED.test(file)) yield file;
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true });

function readText(file) {
  try {
    if (fs.statSync(file).size > MAX_FILE_BYTES) return undefined;
    const bytes = fs.readFileSync(file);
    return decoder.decode(file.endsWith('.gz') ? zlib.gunzipSync(bytes) : bytes).replace(/\r\n?/g, '\n');
  } catch {
    return undefined;
  }
}

/** The text of a page in roff: headings and paragraphs as lines, without requests and fonts. */
function withoutRoff(roff) {
  return roff
    .replace(/^[.']\\".*\n/gm, '')
    .replace(/^\.(?:SH|SS)\s+"?(.*?)"?$/gm, '\n$1\n')
    .replace(/^\.(?:PP|P|LP|IP|TP|sp).*$/gm, '')
    .replace(/^\.[BIR]{1,2}\s+(.*)$/gm, '$1')
    .replace(/^[.'].*\n/gm, '')
    .replace(/\\f(?:\[\w*\]|\(..|.)|\\[&|^)/%]|\\s[-+]?\d/g, '')
    .replace(/\\-/g, '-')
    .replace(/\\\((?:aq|cq|oq)/g, "'")
    .replace(/\\\((?:lq|rq)/g, '"')
    .replace(/\\e/g, '\\')
    .replace(/(\S)\n(?=\S)/g, '$1 ')
    .replace(/\n{3,}/g, '\n\n');
}

/** At paragraphs, where a text is longer than a document may be. */
function* documentsOf(text) {
  if (Buffer.byteLength(text) <= MAX_BYTES) {
    yield text;
    return;
  }
  let open = '';
  for (const paragraph of text.split(/\n{2,}/)) {
    if (open && Buffer.byteLength(open) + Buffer.byteLength(paragraph) + 2 > MAX_BYTES / 2) {
      yield open;
      open = '';
    }
    open = open ? `${open}\n\n${paragraph}` : paragraph;
  }
  yield open;
}

async function* texts() {
  const { readCorpus } = await import(path.join(root, 'dist/corpus/index.js'));
  for (const folder of FOLDERS) {
    const files = [...filesUnder(folder)];
    const pages = files.filter((file) => PAGE.test(file));
    if (pages.length > 0)
      for await (const { text } of readCorpus({ paths: pages, maxBadShare: 1 })) yield* documentsOf(text);
    for (const file of files) {
      if (!PLAIN.test(file) && !MANUAL.test(file)) continue;
      const text = readText(file);
      if (text !== undefined) yield* documentsOf(MANUAL.test(file) ? withoutRoff(text) : text);
    }
  }
}

/** Documents as they are, in an order that does not follow the packages; read once. */
async function gather() {
  const file = path.join(cache, 'bench', `debian-text-${VERSION}.jsonl`);
  if (!fs.existsSync(file)) {
    process.stderr.write('gathering text from Debian packages ...\n');
    const all = [];
    const seen = new Set();
    for await (const text of texts()) {
      const size = Buffer.byteLength(text);
      if (size < MIN_BYTES || size > MAX_BYTES) continue;
      const key = crypto.createHash('sha1').update(text).digest('latin1');
      if (seen.has(key)) continue;
      seen.add(key);
      all.push({ key, line: JSON.stringify(text) });
    }
    all.sort((a, b) => (a.key < b.key ? -1 : 1));
    fs.mkdirSync(path.dirname(file), { recursive: true });
    writeAtomic(file, (write) => {
      for (const { line } of all) write(`${line}\n`);
    });
  }
  // By bytes: one string cannot hold it all.
  const bytes = fs.readFileSync(file);
  const lines = [];
  for (let from = 0; from < bytes.length; ) {
    const end = bytes.indexOf(10, from);
    lines.push(bytes.subarray(from, end));
    from = end + 1;
  }
  return lines;
}

function writeAtomic(file, fill) {
  const fd = fs.openSync(`${file}.new`, 'w');
  let pending = [];
  let numChars = 0;
  const flush = () => {
    fs.writeSync(fd, pending.join(''));
    pending = [];
    numChars = 0;
  };
  fill((text) => {
    pending.push(text);
    numChars += text.length;
    if (numChars > 1 << 22) flush();
  });
  flush();
  fs.closeSync(fd);
  fs.renameSync(`${file}.new`, file);
}

const WORD = /\b[a-z]{4,}\b/g;

/** Words that are put in the place of others: those that occur often enough to be words, in the order of their first occurrence. */
function vocabulary(lines) {
  const counts = new Map();
  for (const line of lines.slice(0, 4000))
    for (const [word] of JSON.parse(line).matchAll(WORD)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].filter(([, count]) => count >= 5).map(([word]) => word);
}

/**
 * JSON lines {"id": "FILE:LINE", "text": ...} in files of equal size, `megabytes` of text in all, written once. What Debian's packages do not
 * fill is filled by repetition, in which every other longer word is another one, so that no repetition is a near copy.
 * @returns {Promise<{folder: string, numBytes: number, numDocuments: number, numRealBytes: number}>}
 */
export async function debianCorpus(megabytes) {
  const folder = path.join(cache, 'bench', `debian-corpus-${VERSION}-${megabytes}`);
  const about = path.join(folder, 'about.json');
  if (fs.existsSync(about)) return { folder, ...JSON.parse(fs.readFileSync(about, 'utf8')) };
  const lines = await gather();
  const words = vocabulary(lines);
  const wanted = megabytes * 1e6;
  requireDisk(wanted * 1.1, path.dirname(folder));
  fs.rmSync(folder, { recursive: true, force: true });
  fs.mkdirSync(folder, { recursive: true });
  const fileBytes = Math.min(FILE_BYTES, wanted / MIN_FILES);
  const result = { numBytes: 0, numDocuments: 0, numRealBytes: 0 };
  let [turn, next] = [0, 0];
  const changed = (text) => {
    let number = next;
    return text.replace(WORD, (word) =>
      number++ % 2 === 0 ? words[(number * 7919 + turn * 104729 + word.length) % words.length] : word,
    );
  };
  for (let number = 0; result.numBytes < wanted; number++) {
    const name = `${String(number).padStart(4, '0')}.jsonl`;
    const until = Math.min(wanted, fileBytes * (number + 1));
    writeAtomic(path.join(folder, name), (write) => {
      for (let line = 1; result.numBytes < until; line++) {
        const original = JSON.parse(lines[next]);
        const text = turn === 0 ? original : changed(original);
        write(`${JSON.stringify({ id: `${name}:${line}`, text })}\n`);
        const size = Buffer.byteLength(text);
        result.numBytes += size;
        result.numDocuments++;
        if (turn === 0) result.numRealBytes += size;
        if (++next < lines.length) continue;
        next = 0;
        turn++;
      }
    });
  }
  fs.writeFileSync(about, `${JSON.stringify(result)}\n`);
  return { folder, ...result };
}

/** Ends the program where a disk has less room. */
export function requireDisk(numBytes, folder) {
  const { bavail, bsize } = fs.statfsSync(folder);
  if (bavail * bsize >= numBytes) return;
  console.error(
    `${folder}: ${(numBytes / 1e9).toFixed(1)} GB are needed, ${((bavail * bsize) / 1e9).toFixed(1)} GB free.`,
  );
  process.exit(1);
}
