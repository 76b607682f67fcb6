// Cleaning, before a corpus is tokenised: what stays takes the place of the files that continuo.yaml names.
import { ConfigError, nearestName } from '../base/errors.ts';
import { cacheFolder } from '../base/package.ts';
import { formatBytes, formatCount } from '../base/units.ts';
import { type Config, type CorpusConfig, loadConfig } from '../config/index.ts';
import {
  type CuratedCorpus,
  type CurateOptions,
  curateCorpus,
  describeLosses,
  type SharedWork,
} from '../corpus/index.ts';
import type { PipelineOptions } from './types.ts';

/** Cleans what is to be cleaned. @returns the configuration with cleaned files in the place of given ones */
export async function cleanCorpora(config: Config, cache: string, options: PipelineOptions): Promise<Config> {
  const corpora: CorpusConfig[] = [];
  for (const corpus of config.corpora) {
    if (!corpus.clean) {
      corpora.push(corpus);
      continue;
    }
    const curated = await curateCorpus(requestOf(config, corpus, cache, options));
    if (!curated.reused) options.log?.(describeCleaning(curated));
    corpora.push({ ...corpus, paths: curated.files, field: undefined, maxBadShare: undefined });
  }
  return { ...config, corpora };
}

function requestOf(config: Config, corpus: CorpusConfig, cache: string, options: PipelineOptions): CurateOptions {
  const { name, paths, field, maxBadShare, limitTokens, clean = [] } = corpus;
  return {
    ...{ name, paths, field, maxBadShare, limitTokens, steps: clean },
    baseFolder: config.folder,
    cacheFolder: cache,
    fresh: options.fresh,
    numWorkers: options.threads ?? config.training.threads,
    quiet: options.quiet,
  };
}

/** "web: 812 of 1,000 documents and 3.1 of 4.0 MB stay; removed by gopher-quality 120, language 68." */
export function describeCleaning({ manifest }: CuratedCorpus): string {
  const { name, given, kept } = manifest;
  const losses = describeLosses(manifest);
  return `${name}: ${formatCount(kept.numDocuments)} of ${formatCount(given.numDocuments)} documents, ${formatBytes(kept.numBytes)} of ${formatBytes(given.numBytes)}, stay after cleaning${losses ? `; removed by ${losses}` : ''}.`;
}

export interface CleanRequest {
  configFile: string;
  /** Names; all that have steps by default. */
  corpora?: string[];
  /** Do a share of the work alone, from 0 to count - 1. */
  share?: { index: number; count: number };
}

export interface CleanResult {
  corpora: CuratedCorpus[];
  /** By corpus, where a share was asked for. */
  shared: (SharedWork & { name: string })[];
}

/** Cleans the corpora of a configuration, and no more. @throws ConfigError for names that it does not have; DataError */
export async function cleanData(request: CleanRequest, options: PipelineOptions = {}): Promise<CleanResult> {
  const config = loadConfig(request.configFile);
  const result: CleanResult = { corpora: [], shared: [] };
  for (const corpus of chosen(config, request.corpora)) {
    const curate = requestOf(config, corpus, cacheFolder(config.folder), options);
    if (request.share) {
      const work = await curateCorpus({ ...curate, share: request.share });
      result.shared.push({ name: corpus.name, ...work });
    } else result.corpora.push(await curateCorpus(curate));
  }
  return result;
}

function chosen({ corpora, file }: Config, names: readonly string[] | undefined): CorpusConfig[] {
  const cleaned = corpora.filter(({ clean }) => clean !== undefined);
  for (const name of names ?? []) {
    const known = corpora.map((corpus) => corpus.name);
    const nearest = nearestName(name, known);
    if (!known.includes(name))
      throw new ConfigError(
        `--corpus ${name}: ${file} has no such corpus, it has ${known.join(', ')}.${nearest ? ` Did you mean "${nearest}"?` : ''}`,
      );
    if (!cleaned.some((corpus) => corpus.name === name))
      throw new ConfigError(
        `--corpus ${name}: has no steps of cleaning. Give corpora.${name}.clean, such as docs or web.`,
      );
  }
  if (cleaned.length === 0)
    throw new ConfigError(`${file}: no corpus has steps of cleaning. Give one, such as corpora.NAME.clean: docs.`);
  return names ? cleaned.filter(({ name }) => names.includes(name)) : cleaned;
}
