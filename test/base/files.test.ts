// Folders that are whole or absent, and the words for what the system refuses.
import fs, * as live from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ConfigError, DataError } from '../../src/base/errors.ts';
import { explainSystemError, makeFolder, writeFolderAtomic } from '../../src/base/files.ts';

let parent: string;
let folder: string;
const rename = fs.renameSync;
beforeEach(() => {
  parent = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-files-'));
  folder = path.join(parent, 'stage');
});
afterEach(() => {
  useRename(rename);
  fs.rmSync(parent, { recursive: true, force: true });
});

function useRename(replacement: typeof fs.renameSync): void {
  fs.renameSync = replacement;
  syncBuiltinESMExports();
}

const fillWith = (text: string) => (temporary: string) => live.writeFileSync(path.join(temporary, 'text'), text);
const content = () => live.readFileSync(path.join(folder, 'text'), 'utf8');

test('a folder is replaced as a whole, and nothing else stays beside it', async () => {
  await writeFolderAtomic(folder, fillWith('old'));
  await writeFolderAtomic(folder, fillWith('new'));
  expect(content()).toBe('new');
  expect(live.readdirSync(parent)).toEqual(['stage']);
});

test('the old folder comes back when the new one cannot be put in its place', async () => {
  await writeFolderAtomic(folder, fillWith('old'));
  useRename((from, to) => {
    if (to === folder && !String(from).endsWith('.old.tmp')) throw Object.assign(new Error('refused'), { code: 'EIO' });
    rename(from, to);
  });
  await expect(writeFolderAtomic(folder, fillWith('new'))).rejects.toThrow(
    `${folder}: the device failed to read or write (while writing it)`,
  );
  expect(content()).toBe('old');
  expect(live.readdirSync(parent)).toEqual(['stage']);
});

test('two calls at a time do not mix their files', async () => {
  const slowly = (name: string) => async (temporary: string) => {
    for (let i = 0; i < 5; i++) {
      live.writeFileSync(path.join(temporary, `${name}-${i}`), name);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  };
  await Promise.all(['a', 'b'].map((name) => writeFolderAtomic(folder, slowly(name))));
  const names = live.readdirSync(folder);
  expect(names).toHaveLength(5);
  expect(new Set(names.map((name) => name[0])).size).toBe(1);
  expect(live.readdirSync(parent)).toEqual(['stage']);
});

test('left-overs of processes that are gone are removed, those of living ones stay', async () => {
  const [gone, living] = [`stage.${2 ** 22 + 1}-0-3.tmp`, `stage.${process.ppid}-0-1.tmp`];
  for (const name of [gone, living]) live.mkdirSync(path.join(parent, name));
  await writeFolderAtomic(folder, fillWith('x'));
  expect(live.readdirSync(parent).sort()).toEqual(['stage', living].sort());
});

test('machines that share a folder do not take each other for dead', async () => {
  const [young, old] = ['other-node@1-0-1.tmp', 'other-node@1-0-2.tmp'].map((name) => `stage.${name}`) as [
    string,
    string,
  ];
  for (const name of [young, old]) live.mkdirSync(path.join(parent, name));
  live.utimesSync(path.join(parent, old), 0, 0);
  await writeFolderAtomic(folder, (temporary) => {
    expect(path.basename(temporary)).toMatch(new RegExp(`^stage\\.[\\w-]+@${process.pid}-`));
    live.writeFileSync(path.join(temporary, 'text'), '');
  });
  expect(live.readdirSync(parent).sort()).toEqual(['stage', young]);
});

test.each([
  ['EROFS', ConfigError, 'read-only'],
  ['ENAMETOOLONG', ConfigError, 'too long'],
  ['ELOOP', ConfigError, 'in a circle'],
  ['EMFILE', ConfigError, 'ulimit -n'],
  ['EIO', DataError, 'device'],
])('%s is worded for the user', (code, kind, words) => {
  const error = explainSystemError(Object.assign(new Error(code), { code }), '/data/x', 'reading it');
  expect(error).toBeInstanceOf(kind);
  expect(error.message).toContain('/data/x: ');
  expect(error.message).toContain(words);
});

test('a folder below a file cannot be made, and the message says so', () => {
  const file = path.join(parent, 'file');
  live.writeFileSync(file, '');
  expect(() => makeFolder(path.join(file, 'x'), 'making the cache')).toThrow(ConfigError);
  expect(() => makeFolder(path.join(file, 'x'), 'making the cache')).toThrow(
    'a part of this path is a file, expected a folder (while making the cache)',
  );
});
