// The side of Continuo in bench/corpus.mjs, a process of its own: node corpus-side.mjs REQUEST, as JSON. What `continuo run` does between
// the files of a configuration and its shards, with the functions that it calls. The last line of stdout says how long that took.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { loadConfig } from '../../dist/config/index.js';
import { nativeInfo } from '../../dist/kernels/index.js';
import { cleanCorpora } from '../../dist/pipeline/corpora.js';
import { prepareCorpus } from '../../dist/shards/index.js';
import { peakMemoryBytes } from './machine.mjs';

if (!nativeInfo()) throw new Error('the native kernels are not built for these sources: node scripts/build-native.mjs');
const { source, work, model, threads } = JSON.parse(process.argv[2]);
fs.mkdirSync(work, { recursive: true });
const file = path.join(work, 'continuo.yaml');
fs.writeFileSync(
  file,
  `name: bench
model: ${JSON.stringify(model)}
corpora:
  text:
    path: ${JSON.stringify(path.join(source, '*.jsonl'))}
    role: general
    clean: [unicode, gopher-quality, gopher-repetition, c4: { terminalPunctuation: false }, fineweb]
dedup: true
recipe: { preset: naive }
budget: { steps: 1 }
`,
);
const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};
const start = performance.now();
const options = { threads, quiet: true };
const cache = path.join(work, 'cache');
fs.mkdirSync(cache);
const { config, curated } = await cleanCorpora(loadConfig(file), cache, options);
const curatedAt = performance.now();
const cpuCurated = cpuSeconds();
const deduplicated = curated.get('text');
const cleaned = JSON.parse(fs.readFileSync(path.join(deduplicated.manifest.cleaned, 'manifest.json'), 'utf8'));
const prepared = await prepareCorpus({
  ...config.corpora[0],
  baseFolder: config.folder,
  modelFolder: model,
  cacheFolder: cache,
  numWorkers: threads,
  quiet: true,
});
const end = performance.now();
console.log(
  JSON.stringify({
    seconds: {
      clean: cleaned.seconds,
      deduplicate: (curatedAt - start) / 1000 - cleaned.seconds,
      tokenize: (end - curatedAt) / 1000,
    },
    cpuSeconds: { curate: cpuCurated, tokenize: cpuSeconds() - cpuCurated },
    peakBytes: peakMemoryBytes(),
    numCleaned: cleaned.kept.numDocuments,
    numKept: deduplicated.manifest.kept.numDocuments,
    keptFiles: deduplicated.files,
    shard: prepared.trainPrefix,
    numTokens: prepared.manifest.train.numTokens + prepared.manifest.heldOut.numTokens,
  }),
);
