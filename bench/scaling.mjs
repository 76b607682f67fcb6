// What a token costs as threads, length and the run grow. Threads: tokens/s per core. Length: the time that longer sequences add, against
// the operations that their attention adds. Run: the last steps against the first, in time and memory.
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { gib, peakOf, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { MODEL_NAMES, modelFolder, modelNamed } from './lib/models.mjs';
import { readOptions, refuse } from './lib/options.mjs';
import { runStep, writeTokens } from './lib/step.mjs';

const PARTS = ['threads', 'length', 'run'];
const USAGE = `Usage: npm run bench -- scaling [options]

  --parts LIST     of ${PARTS.join(', ')} (default: all)
  --model NAME     ${MODEL_NAMES.join(', ')} (default: 135m; the part "run" always takes tiny)
  --seq N          tokens a sequence of the part "threads" (default: 1024)
  --lengths LIST   of the part "length" (default: 512,2048,8192)
  --steps N        of the part "run" (default: 200)
  --seconds S      a measurement of the other parts (default: 20)
  --save           writes bench/results/scaling.json
  --json           the record as the last line`;

const options = readOptions(USAGE, {
  parts: PARTS.join(','),
  model: '135m',
  seq: '1024',
  lengths: '512,2048,8192',
  steps: '200',
  seconds: '20',
});
const parts = options.parts.split(',');
if (parts.some((part) => !PARTS.includes(part))) refuse(USAGE);
const cores = os.availableParallelism();
const model = modelNamed(options.model);
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

function measure({ of = model, threads = cores, seqLen, batch, steps = 1000, seconds = Number(options.seconds) }) {
  const tokensFile = path.join(temporary, 'tokens.json');
  writeTokens(tokensFile, of.vocab, batch, seqLen);
  const spec = { folder: modelFolder(of), tokensFile, precision: 'bf16', threads, batch, seqLen, steps, seconds };
  const result = runStep({ ...spec, work: 'train', checkLength: Math.min(seqLen, 256) });
  return { ...result, tokensPerSecond: (batch * seqLen) / Math.min(...result.seconds), peak: peakOf(result.peak) };
}

function scaleThreads() {
  const seqLen = Number(options.seq);
  const shape = { seqLen, batch: Math.max(1, Math.floor(2048 / seqLen)) };
  const rows = Array.from({ length: cores }, (_, i) => i + 1).map((threads) => ({
    threads,
    ...measure({ ...shape, threads }),
  }));
  if (rows.some((row) => row.first.loss !== rows[0].first.loss || row.first.norm !== rows[0].first.norm))
    throw new Error('loss or gradient norm depends on the number of threads');
  const one = rows[0].tokensPerSecond;
  const result = rows.map(({ threads, tokensPerSecond, peak }) => ({
    threads,
    tokensPerSecond: round(tokensPerSecond, 1),
    perCore: round(tokensPerSecond / threads / one, 3),
    // Cores that share power or a cache may be slower together: then the ceiling falls too.
    peakPerCore: round(peak / threads / rows[0].peak, 3),
  }));
  printTable([
    ['threads', 'tokens/s', 'per core, of one', "peak's, per core"],
    ...result.map((r) => [r.threads, r.tokensPerSecond, r.perCore, r.peakPerCore]),
  ]);
  return { model: model.name, ...shape, rows: result };
}

function scaleLength() {
  const rows = options.lengths.split(',').map((length) => {
    const seqLen = Number(length);
    return { seqLen, ...measure({ seqLen, batch: Math.max(1, Math.floor(2048 / seqLen)) }) };
  });
  const [first] = rows;
  const peak = Math.max(...rows.map((row) => row.peak));
  const result = rows.map(({ seqLen, tokensPerSecond, peakRssBytes }) => {
    const addedFlops = model.flopsPerToken(seqLen) - model.flopsPerToken(first.seqLen);
    const addedSeconds = 1 / tokensPerSecond - 1 / first.tokensPerSecond;
    return {
      seqLen,
      tokensPerSecond: round(tokensPerSecond, 1),
      mfu: round((tokensPerSecond * model.flopsPerToken(seqLen)) / (peak * 1e9), 3),
      addedFlopsOfPeak: addedFlops > 0 ? round(addedFlops / addedSeconds / (peak * 1e9), 3) : null,
      peakRssBytes,
    };
  });
  printTable([
    ['length', 'tokens/s', 'of the peak', 'what attention adds, of the peak', 'memory'],
    ...result.map((r) => [
      r.seqLen,
      r.tokensPerSecond,
      `${(r.mfu * 100).toFixed(1)} %`,
      r.addedFlopsOfPeak === null ? '' : `${(r.addedFlopsOfPeak * 100).toFixed(1)} %`,
      gib(r.peakRssBytes),
    ]),
  ]);
  return { model: model.name, rows: result };
}

function scaleRun() {
  const tiny = modelNamed('tiny');
  const [seqLen, batch, steps] = [256, 2, Number(options.steps)];
  const { seconds, residentBytes } = measure({ of: tiny, seqLen, batch, steps, seconds: 1e6 });
  const tenth = Math.ceil(steps / 10);
  const result = {
    model: tiny.name,
    seqLen,
    batch,
    steps: seconds.length,
    firstTenthTokensPerSecond: round((batch * seqLen) / median(seconds.slice(0, tenth)), 1),
    lastTenthTokensPerSecond: round((batch * seqLen) / median(seconds.slice(-tenth)), 1),
    residentBytesAfterFirstTenth: residentBytes[tenth - 1],
    residentBytesAtEnd: residentBytes.at(-1),
  };
  printTable([
    ['steps', 'tokens/s', 'memory'],
    [`first ${tenth}`, result.firstTenthTokensPerSecond, gib(result.residentBytesAfterFirstTenth)],
    [`last ${tenth} of ${seconds.length}`, result.lastTenthTokensPerSecond, gib(result.residentBytesAtEnd)],
  ]);
  return result;
}

const run = { threads: scaleThreads, length: scaleLength, run: scaleRun };
const record = { bench: 'scaling', ...provenance('scaling') };
for (const part of parts) record[part] = run[part]();
if (options.save) saveRecord('scaling', record);
if (options.json) console.log(JSON.stringify(record));
