// Selection: of a large corpus what a small target asks for, or what is most diverse, as a corpus of its own.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, nearestName } from '../base/errors.ts';
import { explainSystemError, makeFolder, writeFileAtomic, writeJsonAtomic } from '../base/files.ts';
import { cacheFolder } from '../base/package.ts';
import { formatCount, parseCount } from '../base/units.ts';
import { resolveModel } from '../checkpoint/index.ts';
import {
  CORPORA_FILE,
  type CorpusSpec,
  curateCorpus,
  findInputFiles,
  MAX_CLUSTERS,
  SELECT_METHODS,
  type SelectMethod,
  type SelectSummary,
  selectDocuments,
} from '../corpus/index.ts';
import { clusterMap } from '../report/index.ts';
import { toFolder } from './model.ts';
import { scoreDifficulty } from './surprise.ts';
import type { PipelineOptions } from './types.ts';

export interface SelectRequest {
  /** Files, folders or globs with the target, and with the documents. */
  near?: string[];
  from: string[];
  /** A JSONL file, or with `split` a folder. */
  out: string;
  /** crisp by default, k-centre without a target. */
  method?: string;
  /** Of ifd: the model that reads the conversations. */
  model?: string;
  /** How much is wanted: one of the two. */
  documents?: number;
  bytes?: string;
  clusters?: number;
  topics?: number;
  /** 1 by default. */
  seed?: number;
  /** Times that a document may be written; 1 by default. */
  repeats?: number;
  minQuality?: number;
  /** 'topics': a file a topic. */
  split?: string;
  /** An SVG file with the map, and a JSON file with clusters, centroids and topics. */
  map?: string;
  table?: string;
  field?: string;
  nearField?: string;
  maxBadShare?: number;
  /** Overwrite what is there. */
  force?: boolean;
}

export interface SelectResult extends Omit<SelectSummary, 'map' | 'centroids'> {
  out: string;
  method: SelectMethod;
  unit: 'documents' | 'bytes';
  wanted: number;
  mapFile?: string;
  tableFile?: string;
  seconds: number;
}

/** @throws ConfigError; DataError */
export async function select(request: SelectRequest, options: PipelineOptions = {}): Promise<SelectResult> {
  const { near, from, out, field, nearField, maxBadShare, minQuality, seed = 1, repeats: maxRepeats = 1 } = request;
  const method = methodOf(request);
  const wanted = wantedOf(request);
  checkNumbers(request, method);
  await checkOutputs(request);
  const start = performance.now();
  const given = { name: 'the documents', paths: from, field, maxBadShare };
  const scored = method === 'ifd' ? await scoreConversations(request.model!, given, options) : undefined;
  const { map, centroids, ...summary } = await selectDocuments({
    method,
    near: near && { name: 'the target', paths: near, field: nearField, maxBadShare },
    from: scored ? { ...given, paths: scored } : given,
    fromIsCleaned: scored !== undefined,
    wanted,
    numClusters: request.clusters,
    numTopics: request.topics,
    seed,
    maxRepeats,
    minQuality,
    output: request.split ? { folder: path.resolve(out) } : { file: path.resolve(out) },
    withMap: request.map !== undefined,
    numWorkers: options.threads,
    quiet: options.quiet,
  });
  const { clusters, topics } = summary;
  if (request.map && map) {
    const title = `${formatCount(summary.numDocuments)} documents in ${clusters.length} clusters`;
    writeFileAtomic(request.map, clusterMap({ title, points: map, clusters }));
  }
  if (request.table) writeJsonAtomic(request.table, { clusters: withCentroids(clusters, centroids), topics });
  return {
    out,
    method,
    unit: wanted.unit,
    wanted: wanted.amount,
    ...summary,
    mapFile: request.map,
    tableFile: request.table,
    seconds: (performance.now() - start) / 1000,
  };
}

/** Scored part by part in the cache, so that a killed command goes on where it was. @returns files of cleaned documents */
async function scoreConversations(
  model: string,
  from: CorpusSpec & { name: string },
  options: PipelineOptions,
): Promise<string[]> {
  const cache = cacheFolder(process.cwd());
  const folder = await toFolder(
    await resolveModel(model, cache, { quiet: options.quiet }),
    cache,
    options.log ?? (() => {}),
  );
  const { threads: numWorkers, quiet } = options;
  const corpus = await curateCorpus({
    ...from,
    name: 'conversations',
    steps: [],
    cacheFolder: cache,
    numWorkers,
    quiet,
  });
  return (await scoreDifficulty(corpus, folder, cache, options)).files;
}

/** Centroids as base64 of little-endian f32. */
function withCentroids(clusters: SelectSummary['clusters'], centroids: Float32Array) {
  const numDims = centroids.length / clusters.length;
  return clusters.map((cluster, i) => {
    const bytes = Buffer.alloc(4 * numDims);
    for (let d = 0; d < numDims; d++) bytes.writeFloatLE(centroids[i * numDims + d]!, 4 * d);
    return { ...cluster, centroid: bytes.toString('base64') };
  });
}

function methodOf({ method, near, model }: SelectRequest): SelectMethod {
  const chosen = SELECT_METHODS.find((known) => known === (method ?? (near ? 'crisp' : 'k-centre')));
  if (!chosen) {
    const meant = nearestName(method!, SELECT_METHODS);
    throw new ConfigError(
      `--method: expected ${SELECT_METHODS.join(', ')}, found ${method}.${meant ? ` Did you mean ${meant}?` : ''}`,
    );
  }
  if ((chosen === 'ifd') !== (model !== undefined))
    throw new ConfigError(
      model === undefined
        ? '--method ifd: a model reads the conversations. Name it with --model.'
        : `--model: only --method ifd asks a model, found --method ${chosen}.`,
    );
  if (!near && chosen !== 'k-centre' && chosen !== 'ifd')
    throw new ConfigError(`--method ${chosen}: it selects for a target. Give its documents with --near.`);
  return chosen;
}

function wantedOf({ documents, bytes }: SelectRequest): { unit: 'documents' | 'bytes'; amount: number } {
  if ((documents === undefined) === (bytes === undefined))
    throw new ConfigError('How much is wanted? Give one of --documents 10000 and --bytes 50M.');
  if (documents !== undefined) return { unit: 'documents', amount: documents };
  const amount = parseCount(bytes!.replace(/b$/i, ''), '--bytes');
  if (!(amount >= 1)) throw new ConfigError(`--bytes: expected a number of bytes such as 50M, found ${bytes}.`);
  return { unit: 'bytes', amount };
}

function checkNumbers(
  { maxBadShare, minQuality, clusters, topics, seed, repeats, split }: SelectRequest,
  method: SelectMethod,
) {
  const check = (isRight: boolean, option: string, expected: string, found: unknown) => {
    if (!isRight) throw new ConfigError(`--${option}: expected ${expected}, found ${found}.`);
  };
  const isWhole = (value: number | undefined, least: number, most: number) =>
    value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most);
  check(
    maxBadShare === undefined || (maxBadShare >= 0 && maxBadShare <= 1),
    'max-bad-share',
    'a share from 0 to 1',
    maxBadShare,
  );
  check(minQuality === undefined || Number.isFinite(minQuality), 'min-quality', 'a number', minQuality);
  check(isWhole(clusters, 2, MAX_CLUSTERS), 'clusters', `a whole number from 2 to ${MAX_CLUSTERS}`, clusters);
  check(isWhole(topics, 1, MAX_CLUSTERS), 'topics', `a whole number from 1 to ${MAX_CLUSTERS}`, topics);
  check(isWhole(seed, 0, Number.MAX_SAFE_INTEGER), 'seed', 'a whole number from 0', seed);
  check(isWhole(repeats, 1, 1000), 'repeats', 'a whole number from 1 to 1000', repeats);
  check(split === undefined || split === 'topics', 'split', 'topics', split);
  if (repeats !== undefined && repeats > 1 && method !== 'crisp')
    throw new ConfigError(`--repeats: only --method crisp writes a document more than once, found --method ${method}.`);
}

/** Before anything is read: nobody likes to wait for nothing. */
async function checkOutputs({ out, split, map, table, near = [], from, force }: SelectRequest): Promise<void> {
  const isJsonl = /\.(jsonl|ndjson)$/.test(out);
  if (split ? isJsonl : !isJsonl)
    throw new ConfigError(
      split
        ? `--out: with --split it is a folder, found ${out}.`
        : `--out: expected a name that ends in .jsonl, found ${out}. What is written are JSON lines.`,
    );
  if (map && !map.endsWith('.svg')) throw new ConfigError(`--map: expected a name that ends in .svg, found ${map}.`);
  if (table && !table.endsWith('.json'))
    throw new ConfigError(`--table: expected a name that ends in .json, found ${table}.`);
  const outputs = [out, map, table].filter((file) => file !== undefined);
  const inputs = new Set<string>();
  const { files } = await findInputFiles([...near, ...from]);
  for (const { path: file } of files) if (fs.existsSync(file)) inputs.add(fs.realpathSync(file));
  for (const output of outputs) {
    if (!fs.existsSync(output)) {
      checkWritable(output);
      continue;
    }
    if (!force) throw new ConfigError(`${output}: exists already. Choose another name, or overwrite it with --force.`);
    const real = fs.realpathSync(output);
    if (fs.statSync(real).isDirectory() !== (output === out && split !== undefined))
      throw new ConfigError(
        `${output}: expected a ${output === out && split ? 'folder' : 'file'} there. Choose another name.`,
      );
    if (split && output === out && fs.readdirSync(real).length > 0 && !fs.existsSync(path.join(real, CORPORA_FILE)))
      throw new ConfigError(
        `${output}: holds other things than an earlier selection (no ${CORPORA_FILE}). Choose another name.`,
      );
    for (const input of inputs)
      if (input === real || input.startsWith(real + path.sep))
        throw new ConfigError(`${output}: is, or holds, a file that is read (${input}). Choose another name.`);
  }
}

function checkWritable(output: string): void {
  const folder = path.dirname(path.resolve(output));
  makeFolder(folder);
  try {
    fs.accessSync(folder, fs.constants.W_OK);
  } catch (error) {
    throw explainSystemError(error, folder, 'writing the selected documents');
  }
}
