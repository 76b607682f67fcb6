// Real text for benchmarks, of three kinds: English prose, source code, other languages. Found on this machine (Debian's documentation and
// translations, Python's and Node's packages, what recipes/base-en/gather.mjs left in the user's cache), never fetched, never committed.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { root } from './models.mjs';

const cache = path.join(process.env.XDG_CACHE_HOME ?? path.join(os.homedir(), '.cache'), 'continuo');
const packages = path.join(cache, 'base-text/packages');

const KINDS = {
  prose: {
    from: [path.join(cache, 'base-text/base'), '/usr/share/doc', '/usr/share/perl', path.join(packages, 'perl-doc')],
    pattern: /\.(?:jsonl|txt|md|rst|pod)$|\/(?:README|NEWS|copyright)[^/]*$/,
  },
  code: {
    from: ['/usr/lib/python3', '/usr/lib/python3.11', path.join(root, 'node_modules'), '/usr/include', cache],
    pattern: /\.(?:py|js|mjs|ts|h|hpp|c|cc|rs|go|java|css|json)$/,
  },
  languages: {
    from: ['gnome-user-docs/usr/share/help', 'debian-handbook', 'installation-guide-amd64'].map((name) =>
      path.join(packages, name),
    ),
    // Not the English of each.
    pattern: /^(?!.*\/(?:C|en|en-US|en_US|en_GB)[/.]).*\.(?:page|html|docbook|txt)$/,
  },
};
const MAX_FILE_BYTES = 1 << 20;

function* filesOf({ from, pattern }) {
  for (const folder of from) {
    const open = [folder];
    while (open.length > 0) {
      const current = open.pop();
      let entries;
      try {
        entries = fs.readdirSync(current, { withFileTypes: true });
      } catch {
        continue;
      }
      for (const entry of entries.sort((a, b) => (a.name < b.name ? 1 : -1))) {
        const file = path.join(current, entry.name);
        if (entry.isDirectory()) open.push(file);
        else if (entry.isFile() && pattern.test(file)) yield file;
      }
    }
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true });

function* textsOf(file) {
  if (file.endsWith('.jsonl')) {
    for (const line of fs.readFileSync(file, 'utf8').split('\n')) if (line) yield JSON.parse(line).text;
    return;
  }
  if (fs.statSync(file).size > MAX_FILE_BYTES) return;
  try {
    yield decoder.decode(fs.readFileSync(file));
  } catch {
    // Not UTF-8: nothing that a corpus would hold.
  }
}

/** @returns texts of each kind, `megabytes` in all as far as there are so many, the same ones on every call */
export function gatherTexts(megabytes) {
  const seen = new Set();
  return Object.fromEntries(
    Object.entries(KINDS).map(([kind, source]) => {
      const texts = [];
      let left = (megabytes * 1e6) / Object.keys(KINDS).length;
      for (const file of filesOf(source)) {
        if (left <= 0) break;
        for (const text of textsOf(file)) {
          const key = `${text.length} ${text.slice(0, 200)}`;
          if (left <= 0 || typeof text !== 'string' || text === '' || seen.has(key)) continue;
          seen.add(key);
          texts.push(text);
          left -= Buffer.byteLength(text);
        }
      }
      return [kind, texts];
    }),
  );
}
