// A task's documents: which files stand for which split, by the rules of Hugging Face's `datasets` (the configurations in a repository's
// README, else the names of its files), and their rows. Data sets are looked for on this machine first, then on the hub; what was fetched
// is kept. Scripts of data sets are not run: the hub's own conversion to Parquet is read instead.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../../base/errors.ts';
import { writeFileAtomic } from '../../base/files.ts';
import { fingerprint } from '../../base/hash.ts';
import { fetchFile, findRemoteFiles, globFiles, readTable, type Table, type TableOptions } from '../../corpus/index.ts';
import type { DatasetRequest, Doc } from './definition.ts';
import { parseYaml, type RawConfig } from './yaml.ts';

export interface DataOptions {
  /** Where fetched files are kept. */
  cache: string;
  /** Fetch again what was kept. */
  fresh?: boolean;
}

export interface Documents {
  docs: readonly Doc[];
  /** Columns of floating-point numbers. */
  floatColumns: readonly string[];
}

export interface Dataset {
  splits: readonly string[];
  /** @throws ConfigError for a split that there is not, DataError for files that cannot be read */
  load(split: string): Promise<Documents>;
}

type Files = Record<string, string[]>;

const BUILDERS: Readonly<Record<string, TableOptions['format']>> = {
  json: 'json',
  csv: 'csv',
  parquet: 'parquet',
  text: 'text',
};

/** @throws ConfigError where there is no such data */
export async function openDataset(request: DatasetRequest, where: string, options: DataOptions): Promise<Dataset> {
  const { path: given, kwargs } = request;
  const format = Object.hasOwn(BUILDERS, given) ? BUILDERS[given] : undefined;
  const files = format
    ? await namedFiles(request, where)
    : await (localFolder(request) ? localLayout(request, where) : hubLayout(request, where, options));
  const table = tableOptions(kwargs, format);
  return {
    splits: Object.keys(files),
    load: async (split) => {
      const list = Object.hasOwn(files, split) ? files[split] : undefined;
      if (!list)
        throw new ConfigError(
          `${where}: the data ${given} has no split "${split}"; it has ${Object.keys(files).join(', ')}.`,
        );
      const parts: Table[] = [];
      for (const file of list) parts.push(await readTable(await fetchFile(file, options.cache, options.fresh), table));
      return {
        docs: parts.length === 1 ? parts[0].rows : parts.flatMap(({ rows }) => rows),
        floatColumns: [...new Set(parts.flatMap(({ floatColumns }) => floatColumns))],
      };
    },
  };
}

function tableOptions(kwargs: RawConfig, format: TableOptions['format']): TableOptions {
  const { field, sep, delimiter = sep, header, column_names } = kwargs;
  const names = Array.isArray(column_names) ? column_names.map(String) : undefined;
  return {
    format,
    field: field === undefined ? undefined : String(field),
    delimiter: delimiter === undefined ? undefined : String(delimiter),
    columnNames: names,
    // With names of its own and without a word on a header pandas takes the first row for data.
    noHeader: header === null || header === 'None' || (names !== undefined && header === undefined),
  };
}

/** dataset_kwargs.data_files of the builders that are named after formats. */
async function namedFiles({ path: given, kwargs, folder }: DatasetRequest, where: string): Promise<Files> {
  const { data_files, data_dir } = kwargs;
  if (data_files === undefined && data_dir === undefined)
    throw new ConfigError(
      `${where}: dataset_path ${given} needs dataset_kwargs with data_files: a path, or paths by split.`,
    );
  const bySplit =
    typeof data_files === 'object' && data_files !== null && !Array.isArray(data_files)
      ? (data_files as RawConfig)
      : { train: data_files ?? `${String(data_dir)}/*` };
  const files: Files = {};
  for (const [split, paths] of Object.entries(bySplit)) {
    files[split] = [];
    for (const one of [paths].flat().map(String))
      files[split].push(...(await resolveFiles(one, folder, data_dir, where)));
  }
  return files;
}

async function resolveFiles(given: string, folder: string, dataDir: unknown, where: string): Promise<string[]> {
  const hub = /^hf:\/\/datasets\/(.+)$/.exec(given);
  const address = hub ? `hub://${hub[1]}` : given;
  if (/^[a-z][a-z0-9+.-]+:\/\//i.test(address)) {
    const found = await findRemoteFiles(address);
    if (found.length === 0) throw new ConfigError(`${where}: ${given} stands for no file.`);
    return found.sort();
  }
  for (const base of dataDir === undefined
    ? [folder, process.cwd()]
    : [path.resolve(folder, String(dataDir)), path.resolve(String(dataDir))]) {
    const absolute = path.resolve(base, given);
    if (fs.existsSync(absolute) && fs.statSync(absolute).isFile()) return [absolute];
    const matches = /[*?[{]/.test(given) ? globFiles(given, base) : [];
    if (matches.length > 0) return matches.map((file) => path.resolve(base, file)).sort();
  }
  throw new ConfigError(`${where}: ${given} stands for no file, looked for in ${folder} and ${process.cwd()}.`);
}

function localFolder({ path: given, folder }: DatasetRequest): string | undefined {
  return [path.resolve(folder, given), path.resolve(given)].find(
    (candidate) => fs.existsSync(candidate) && fs.statSync(candidate).isDirectory(),
  );
}

function localLayout(request: DatasetRequest, where: string): Files {
  const root = localFolder(request)!;
  const names = fs
    .readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)).replaceAll(path.sep, '/'))
    .sort();
  const readme = path.join(root, 'README.md');
  const files = layout(names, fs.existsSync(readme) ? fs.readFileSync(readme, 'utf8') : '', request, where);
  if (!files) throw new ConfigError(`${where}: ${root} holds no data files${ofName(request)}.`);
  return mapFiles(files, (name) => path.join(root, name));
}

const ofName = ({ name }: DatasetRequest): string => (name === undefined ? '' : ` for the configuration "${name}"`);

function mapFiles(files: Files, change: (name: string) => string): Files {
  return Object.fromEntries(Object.entries(files).map(([split, names]) => [split, names.map(change)]));
}

/** What the hub says is kept, so that an evaluation is of the same files, with or without a network. */
async function hubLayout(request: DatasetRequest, where: string, { cache, fresh }: DataOptions): Promise<Files> {
  const { path: id, name, kwargs } = request;
  if (!/^[\w.-]+\/[\w.-]+$/.test(id))
    throw new ConfigError(
      `${where}: no folder ${id} (looked for in ${request.folder} and ${process.cwd()}), and no name on the hub, which is OWNER/NAME.`,
    );
  const revision = kwargs.revision === undefined ? undefined : String(kwargs.revision);
  const kept = path.join(cache, 'data', `hub-${fingerprint({ version: 1, id, name, kwargs })}.json`);
  if (!fresh && fs.existsSync(kept)) return JSON.parse(fs.readFileSync(kept, 'utf8')) as Files;
  const files =
    (await ofRevision(revision)) ?? (revision === undefined ? await ofRevision('refs/convert/parquet') : undefined);
  if (!files)
    throw new ConfigError(
      `${where}: the hub's ${id} holds no data files${ofName(request)}, nor a conversion to Parquet.`,
    );
  fs.mkdirSync(path.dirname(kept), { recursive: true });
  writeFileAtomic(kept, JSON.stringify(files));
  return files;

  async function ofRevision(ref: string | undefined): Promise<Files | undefined> {
    const prefix = `hub://${id}${ref === undefined || ref === 'main' ? '' : `@${encodeURIComponent(ref)}`}/`;
    let addresses: string[];
    try {
      addresses = (await findRemoteFiles(prefix)).sort();
    } catch (error) {
      // Not every repository has a conversion.
      if (ref === 'refs/convert/parquet' && error instanceof ConfigError) return undefined;
      throw error;
    }
    const names = addresses.map((address) => address.slice(prefix.length));
    const readme = names.includes('README.md')
      ? fs.readFileSync(await fetchFile(`${prefix}README.md`, cache, true), 'utf8')
      : '';
    const found = layout(names, readme, request, where);
    return found && mapFiles(found, (file) => prefix + file);
  }
}

const DATA_FILE = /\.(?:jsonl?|ndjson|csv|tsv|parquet|txt)(?:\.(?:gz|zst|bz2))?$/i;
/** Files that are about the data. */
const NO_DATA =
  /(?:^|\/)(?:\.|__|readme|license|dataset_infos?\.json|dataset_dict\.json|state\.json|requirements\.txt)/i;

/** @returns undefined where no file is one of the configuration's data */
function layout(names: readonly string[], readme: string, request: DatasetRequest, where: string): Files | undefined {
  const { name, kwargs } = request;
  if (kwargs.data_files !== undefined) return byPatterns(names, kwargs.data_files, String(kwargs.data_dir ?? ''));
  const dataDir = kwargs.data_dir === undefined ? '' : `${String(kwargs.data_dir).replace(/\/+$/, '')}/`;
  const configs = dataDir === '' ? configsOf(readme, where) : [];
  const config = configs.find((one) => (name === undefined ? isDefault(one, configs) : one.config_name === name));
  if (config?.data_files !== undefined) return byPatterns(names, config.data_files, String(config.data_dir ?? ''));
  const data = names.filter((file) => DATA_FILE.test(file) && !NO_DATA.test(file));
  // The hub's conversion has a folder a configuration, and so may a folder on this machine.
  const folder =
    config?.data_dir ?? (name !== undefined && data.some((file) => file.startsWith(`${name}/`)) ? name : undefined);
  const prefix = folder === undefined ? dataDir : `${String(folder).replace(/\/+$/, '')}/`;
  if (name !== undefined && name !== 'default' && prefix === '') return undefined;
  const isConversion = names.every((file) => /^[^/]+\/[^/]+\/\d{4}\.parquet$/.test(file) || !DATA_FILE.test(file));
  const inside = data.filter((file) => file.startsWith(isConversion && prefix === '' ? 'default/' : prefix));
  return inside.length > 0 ? bySplitNames(inside, isConversion) : undefined;
}

function configsOf(readme: string, where: string): RawConfig[] {
  const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(readme)?.[1];
  const { configs } = front ? parseYaml(front, `${where}: README.md`) : {};
  return Array.isArray(configs) ? (configs as RawConfig[]) : [];
}

function isDefault(config: RawConfig, all: readonly RawConfig[]): boolean {
  return config.default === true || config.config_name === 'default' || all.length === 1;
}

function byPatterns(names: readonly string[], given: unknown, dataDir: string): Files | undefined {
  const entries: [string, unknown][] = Array.isArray(given)
    ? given.map((item) =>
        typeof item === 'object' && item !== null
          ? [String((item as RawConfig).split ?? 'train'), (item as RawConfig).path]
          : ['train', item],
      )
    : typeof given === 'object' && given !== null
      ? Object.entries(given)
      : [['train', given]];
  const files: Files = {};
  for (const [split, patterns] of entries) {
    const matching = [patterns].flat().flatMap((pattern) => matchingFiles(names, String(pattern), dataDir));
    if (matching.length > 0) files[split] = [...(files[split] ?? []), ...matching];
  }
  return Object.keys(files).length > 0 ? files : undefined;
}

function matchingFiles(names: readonly string[], pattern: string, dataDir: string): string[] {
  const full = (dataDir === '' ? pattern : `${dataDir.replace(/\/+$/, '')}/${pattern}`).replace(/^\.\//, '');
  const regex = new RegExp(
    `^${full.replace(/\*\*\/|\*\*|\*|\?|[^\w/*?-]/g, (part) =>
      part === '**/' ? '(?:.*/)?' : part === '**' ? '.*' : part === '*' ? '[^/]*' : part === '?' ? '[^/]' : `\\${part}`,
    )}$`,
  );
  return names.filter((name) => regex.test(name));
}

const SPLIT_WORDS: readonly (readonly [string, RegExp])[] = [
  ['train', /(?:^|[^a-z])(?:train|training)(?:[^a-z]|$)/i],
  ['validation', /(?:^|[^a-z])(?:validation|valid|val|dev)(?:[^a-z]|$)/i],
  ['test', /(?:^|[^a-z])(?:testing|test|eval|evaluation)(?:[^a-z]|$)/i],
];

function bySplitNames(names: readonly string[], isConversion: boolean): Files {
  const files: Files = {};
  const shards = names.map((name) =>
    isConversion ? name.split('/')[1].replace(/^partial-/, '') : /(?:^|\/)(\w+)-\d{5}-of-\d{5}\b[^/]*$/.exec(name)?.[1],
  );
  const isSharded = shards.some((split) => split !== undefined);
  names.forEach((name, i) => {
    const split = isSharded ? shards[i] : SPLIT_WORDS.find(([, words]) => words.test(name))?.[0];
    if (split !== undefined) files[split] = [...(files[split] ?? []), name];
  });
  return Object.keys(files).length > 0 ? files : { train: [...names] };
}
