// The PyTorch engine beside transformers' Trainer: the same model, the same sequences in the same order, AdamW, clipping, in one run. Jobs are
// written here, and bench/peers/torch_sides.py runs them; it needs no Node.js, so that --prepare's folder can be carried to a machine with a GPU.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Rng } from '../dist/base/rng.js';
import { compileJob, ShardWriter } from '../dist/shards/index.js';
import { printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { MODEL_NAMES, modelNamed, python, root } from './lib/models.mjs';
import { readOptions, refuse } from './lib/options.mjs';

const SIDES = [
  'continuo',
  'continuo-documents',
  'trainer',
  'trainer-compiled',
  'trainer-bf16',
  'trainer-bf16-compiled',
];
const USAGE = `Usage: npm run bench -- torch [options]

  --models LIST      of ${MODEL_NAMES.join(', ')} (default: 135m)
  --seqs LIST        tokens a sequence (default: 1024)
  --precisions LIST  f32, bf16 (default: both)
  --sequences N      a step (default: 4)
  --passes LIST      sequences a pass, each tried (default: 2)
  --recompute LIST   none, full: each tried (default: none)
  --sides LIST       of ${SIDES.join(', ')} (default: continuo,continuo-documents,trainer,trainer-compiled)
                     "continuo" reads whole sequences as the Trainer does, "-documents" sequences of documents of 700 tokens,
                     kept apart; "-bf16" has weights and moments in bf16, which takes half of the memory and loses small steps
  --steps N          (default: 8, of which the first three are not timed)
  --threads N        on a processor (default: all cores)
  --checkpoint N     "continuo" makes a checkpoint every so many steps (default: none is timed)
  --prepare FOLDER   writes the jobs only; python FOLDER/torch_sides.py FOLDER then runs them, on a machine where FOLDER has the same path
  --save             writes bench/results/torch.json
  --json             the record as the last line`;

const options = readOptions(USAGE, {
  models: '135m',
  seqs: '1024',
  precisions: 'f32,bf16',
  sequences: '4',
  passes: '2',
  recompute: 'none',
  sides: 'continuo,continuo-documents,trainer,trainer-compiled',
  steps: '8',
  threads: String(os.availableParallelism()),
  checkpoint: undefined,
  prepare: undefined,
});
const list = (text) => text.split(',');
const sides = list(options.sides);
if (sides.some((side) => !SIDES.includes(side))) refuse(USAGE);
const numSteps = Number(options.steps);
const sequencesPerStep = Number(options.sequences);
const DOCUMENT_TOKENS = 700;

const folder = path.resolve(options.prepare ?? fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-')));
if (!options.prepare) process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

/** Shards of random ids: one document, or documents with lengths drawn around a mean. */
function writeShard(prefix, vocab, numTokens, drawLength) {
  const rng = new Rng(1, prefix);
  const writer = new ShardWriter(prefix, vocab);
  for (let left = numTokens; left > 0; ) {
    const length = Math.min(left, drawLength(rng));
    writer.addDocument(Uint32Array.from({ length }, () => rng.below(vocab)));
    left -= length;
  }
  writer.finish();
  return prefix;
}

async function writeJob(name, { model, seqLen, precision, perPass, shard }) {
  await compileJob({
    folder: path.join(folder, name, 'job'),
    name,
    model: path.join(folder, 'models', model.name),
    precision,
    seed: 1,
    batch: { seqLen, sequencesPerStep, sequencesPerMicroBatch: perPass },
    optimizer: { name: 'adamw', beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clipNorm: 1 },
    phases: [{ name: 'all', firstStep: 0, numSteps, blend: { text: 1 } }],
    numSteps,
    shards: [{ corpus: 'text', prefix: shard }],
    schedule: new Float32Array(numSteps).fill(1e-5),
    // The last step is always followed by one; it is not timed.
    checkpoint: { everySteps: Number(options.checkpoint ?? numSteps), keep: 1 },
    evaluation: { everySteps: numSteps, sets: [] },
    record: {},
  });
  return path.join(folder, name);
}

const cases = [];
for (const name of list(options.models)) {
  const model = modelNamed(name);
  fs.mkdirSync(path.join(folder, 'models', name), { recursive: true });
  fs.writeFileSync(path.join(folder, 'models', name, 'config.json'), JSON.stringify(model.config));
  for (const seqLen of list(options.seqs).map(Number)) {
    // A whole number of sequences, each a token later than its inputs: no piece of a document is left over.
    const numTokens = (numSteps * sequencesPerStep + 2) * seqLen + 1;
    const prefix = path.join(folder, 'shards', `${name}-${seqLen}`);
    fs.mkdirSync(path.dirname(prefix), { recursive: true });
    const shards = {
      whole: writeShard(`${prefix}-whole`, model.vocab, numTokens, () => numTokens),
      documents: writeShard(
        `${prefix}-documents`,
        model.vocab,
        numTokens,
        (rng) => 2 + rng.below(2 * DOCUMENT_TOKENS - 2),
      ),
    };
    for (const precision of list(options.precisions))
      for (const perPass of list(options.passes).map(Number)) {
        const base = `${name}-${seqLen}-${precision}-${perPass}`;
        const given = { model, seqLen, precision, perPass };
        const jobs = {
          whole: await writeJob(`${base}-whole`, { ...given, shard: shards.whole }),
          documents: await writeJob(`${base}-documents`, { ...given, shard: shards.documents }),
        };
        for (const recompute of list(options.recompute))
          cases.push({
            ...{ model: name, seqLen, precision, perPass, recompute, jobs },
            modelFolder: path.join(folder, 'models', name),
            numParameters: model.numParameters,
            flopsPerToken: model.flopsPerToken(seqLen),
          });
      }
  }
}
const spec = { cases, sides, numSteps, warmUp: 3, sequencesPerStep, threads: Number(options.threads) };
fs.writeFileSync(path.join(folder, 'spec.json'), JSON.stringify(spec, null, 1));
fs.copyFileSync(path.join(root, 'bench/peers/torch_sides.py'), path.join(folder, 'torch_sides.py'));
fs.cpSync(path.join(root, 'worker/continuo_worker'), path.join(folder, 'continuo_worker'), {
  recursive: true,
  filter: (file) => !file.endsWith('__pycache__'),
});
if (options.prepare) {
  process.stderr.write(`written: ${folder}\n`);
  process.exit();
}

const run = spawnSync(python(), [path.join(folder, 'torch_sides.py'), folder], {
  stdio: ['ignore', 'inherit', 'inherit'],
});
if (run.status !== 0) process.exit(1);
const { results: found, ...where } = JSON.parse(fs.readFileSync(path.join(folder, 'results.json'), 'utf8'));
const results = found.map(({ seconds, ...one }) => ({ ...one, ...(seconds && { timedSteps: seconds.length }) }));
const rows = results.map((r) => [
  `${r.model}, ${r.seqLen}, ${r.precision}`,
  r.side,
  r.perPass,
  r.recompute,
  r.failed ?? round(r.tokensPerSecond),
  r.ofTrainer === undefined ? '' : `${r.ofTrainer.toFixed(2)} x`,
]);
printTable([['model, tokens, precision', 'side', 'a pass', 'recompute', 'tokens/s', "of the Trainer's best"], ...rows]);
const record = { bench: 'torch', ...provenance('torch'), ...where, results };
if (options.save) saveRecord('torch', record);
if (options.json) console.log(JSON.stringify(record));
