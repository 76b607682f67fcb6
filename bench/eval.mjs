// Tasks' requests beside lm-evaluation-harness with transformers on CPU: few-shot questions with choices of one token, long endings, whole
// texts, answers. Same model, same requests, scores that agree before anything counts; the harness in the best of its settings.
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as zlib from 'node:zlib';
import { Rng } from '../dist/base/rng.js';
import { gib, printTable, provenance, round, saveRecord } from './lib/machine.mjs';
import { modelFolder, modelNamed, python, root } from './lib/models.mjs';
import { readOptions } from './lib/options.mjs';

const USAGE = `Usage: npm run bench -- eval [options]

  --models LIST      base (data/base-en-8m), 135m (SmolLM2-135M's sizes, random weights) (default: base,135m)
  --questions N      with five examples and four choices of one token, on two subjects (default: 32)
  --endings N        contexts with four long endings (default: 32)
  --texts N          whole texts (default: 16)
  --answers N        generated, of up to --tokens tokens (default: 8)
  --tokens N         (default: 64)
  --batch LIST       the harness's batch sizes (default: 1,8,32)
  --dtypes LIST      the harness's (default: float32,bfloat16)
  --repeats N        of which the fastest counts (default: 2)
  --no-peers         ours only, compared with nothing
  --save             writes bench/results/eval.json
  --json             the record as the last line

The harness's batch_size=auto is left out: on a CPU it tries 64 sequences of the model's whole context, and no limit stops it.`;

/** Nats between log-likelihoods in f32: sums in another order; of a whole text relative to it. */
const TOLERANCE = 1e-3;
const RELATIVE = 1e-5;

const options = readOptions(USAGE, {
  models: 'base,135m',
  questions: '32',
  endings: '32',
  texts: '16',
  answers: '8',
  tokens: '64',
  batch: '1,8,32',
  dtypes: 'float32,bfloat16',
  repeats: '2',
  'no-peers': false,
});
const [numQuestions, numEndings, numTexts, numAnswers, maxTokens, repeats] = [
  options.questions,
  options.endings,
  options.texts,
  options.answers,
  options.tokens,
  options.repeats,
].map(Number);
const threads = os.availableParallelism();
const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-bench-'));
process.on('exit', () => fs.rmSync(temporary, { recursive: true, force: true }));

const words = zlib
  .gunzipSync(fs.readFileSync(path.join(root, 'data/demo/english.jsonl.gz')))
  .toString()
  .split('\n')
  .filter((line) => line !== '')
  .flatMap((line) =>
    JSON.parse(line)
      .text.split(/\s+/)
      .filter((word) => /^[\w.,;'-]+$/.test(word)),
  );

/** Requests as tasks make them. @param size of a question: the embedded base has room for 512 tokens, so its questions are half as long */
function makeRequests(size) {
  const rng = new Rng(7, 'bench-eval');
  const span = (count) => {
    const from = rng.below(words.length - count);
    return words.slice(from, from + count).join(' ');
  };
  const letters = [...'ABCD'];
  const question = () =>
    `${span(Math.round(14 * size))}?\n${letters.map((letter) => `${letter}. ${span(Math.round(6 * size))}\n`).join('')}Answer:`;
  const examples = (count) =>
    Array.from({ length: count }, () => `${question()} ${letters[rng.below(4)]}\n\n`).join('');
  const subjects = [examples(5), examples(5)];
  const few = examples(2);
  return {
    questions: Array.from({ length: numQuestions }, (_, i) => {
      const context = subjects[i % subjects.length] + question();
      return letters.map((letter) => ({ context, continuation: ` ${letter}` }));
    }).flat(),
    endings: Array.from({ length: numEndings }, () => {
      const context = span(45);
      return letters.map(() => ({ context, continuation: ` ${span(12 + rng.below(12))}` }));
    }).flat(),
    rolling: Array.from({ length: numTexts }, () => span(40 + rng.below(400))),
    generate: Array.from({ length: numAnswers }, () => ({
      prompt: `${few}${question()}`,
      until: ['\n\n'],
      maxTokens,
    })),
  };
}

/** The folder with the embedded base's tokenizer, whose ids every vocabulary here has room for. */
function folderOf(name) {
  const base = path.join(root, 'data/base-en-8m');
  if (name === 'base') return base;
  const [from, folder] = [modelFolder(modelNamed(name)), path.join(temporary, name)];
  fs.mkdirSync(folder);
  for (const file of fs.readdirSync(from).filter((file) => !file.startsWith('tokenizer')))
    fs.symlinkSync(path.join(from, file), path.join(folder, file));
  for (const file of ['tokenizer.json', 'tokenizer_config.json'])
    fs.copyFileSync(path.join(base, file), path.join(folder, file));
  return folder;
}

function run(program, args, spec) {
  const started = performance.now();
  const output = execFileSync(program, [...args, JSON.stringify({ ...spec, threads, repeats })], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  process.stderr.write(`${path.basename(args.at(-1))}: ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  return JSON.parse(output.trim().split('\n').at(-1));
}

const scoresOf = (kind, answers) =>
  kind === 'rolling' ? answers : answers.map((answer) => (Array.isArray(answer) ? answer[0] : answer.logLikelihood));

/** The largest difference of log-likelihoods, or how many answers differ. */
function differenceOf(kind, ours, theirs) {
  if (kind === 'generate') return ours.filter((text, i) => text !== theirs[i]).length;
  const [a, b] = [scoresOf(kind, ours), scoresOf(kind, theirs)];
  return Math.max(...a.map((score, i) => Math.abs(score - b[i])));
}

function check(name, ours, theirs) {
  const differences = {};
  for (const kind of Object.keys(ours)) {
    const [mine, other] = [ours[kind].answers, theirs[kind].answers];
    differences[kind] = differenceOf(kind, mine, other);
    const size = kind === 'rolling' ? Math.max(...mine.map(Math.abs)) : 0;
    // Near-equal logits may turn an answer by f32's rounding; most must agree.
    const most = kind === 'generate' ? mine.length / 4 : Math.max(TOLERANCE, RELATIVE * size);
    if (!(differences[kind] <= most))
      throw new Error(`${name}, ${kind}: differs by ${differences[kind]}, allowed ${most}`);
    if (kind === 'questions' || kind === 'endings')
      mine.forEach(({ isGreedy }, i) => {
        if (isGreedy !== other[i][1])
          throw new Error(`${name}, ${kind} ${i}: greedy here ${isGreedy}, there ${other[i][1]}`);
      });
  }
  return differences;
}

const best = (seconds) => Math.min(...seconds);
const results = options.models.split(',').map((name) => {
  const folder = folderOf(name);
  const requestsFile = path.join(temporary, `${name}.json`);
  const requests = makeRequests(name === 'base' ? 1 : 2);
  fs.writeFileSync(requestsFile, JSON.stringify(requests));
  const ours = Object.fromEntries(
    ['bf16', 'f32'].map((precision) => [
      precision,
      run(process.execPath, ['--expose-gc', path.join(root, 'bench/lib/evaluate.mjs')], {
        folder,
        requestsFile,
        precision,
      }),
    ]),
  );
  const peers = options['no-peers']
    ? []
    : options.dtypes.split(',').flatMap((dtype) => {
        const batchSizes = options.batch.split(',').map(Number);
        const script = path.join(root, 'bench/peers/lm_eval_model.py');
        const { runs, ...versions } = run(python(), [script], { folder, requestsFile, dtype, batchSizes });
        return runs.map((each) => ({ ...each, dtype, versions }));
      });
  const exact = peers.find(({ dtype }) => dtype === 'float32');
  const differences = exact && check(name, ours.f32.kinds, exact.kinds);
  const kinds = Object.keys(requests).map((kind) => {
    const tried = peers.map(({ dtype, batchSize, kinds: each }) => ({
      dtype,
      batchSize,
      seconds: round(best(each[kind].seconds), 2),
      peakRssBytes: each[kind].peakRssBytes,
    }));
    const fastest = tried.reduce((a, b) => (a && a.seconds <= b.seconds ? a : b), undefined);
    const own = (precision) => ({
      seconds: round(best(ours[precision].kinds[kind].seconds), 3),
      peakRssBytes: ours[precision].kinds[kind].peakRssBytes,
    });
    const like = tried.filter(({ dtype }) => dtype === 'float32').map(({ seconds }) => seconds);
    return {
      kind,
      requests: requests[kind].length,
      bf16: own('bf16'),
      f32: own('f32'),
      lmEval: tried,
      fastest,
      ratio: fastest ? round(fastest.seconds / own('bf16').seconds, 2) : null,
      ratioInF32: like.length > 0 ? round(Math.min(...like) / own('f32').seconds, 2) : null,
      difference: differences?.[kind] ?? null,
    };
  });
  const total = (secondsOf) => kinds.reduce((sum, kind) => sum + secondsOf(kind), 0);
  return {
    model: name,
    threads,
    kernels: ours.bf16.variant,
    versions: exact?.versions,
    kinds,
    ratio: exact ? round(total(({ fastest }) => fastest.seconds) / total(({ bf16 }) => bf16.seconds), 2) : null,
  };
});

for (const { model, kinds, ratio, versions } of results) {
  const shown = { questions: '5-shot questions', endings: 'long endings', rolling: 'whole texts', generate: 'answers' };
  printTable([
    [
      model,
      'requests',
      'continuo bf16',
      'f32',
      'memory',
      'lm-eval',
      'its best setting',
      'memory',
      'ratio',
      'in f32',
      'difference in f32',
    ],
    ...kinds.map((k) => [
      shown[k.kind],
      k.requests,
      `${k.bf16.seconds} s`,
      `${k.f32.seconds} s`,
      gib(k.bf16.peakRssBytes),
      k.fastest ? `${k.fastest.seconds} s` : '',
      k.fastest ? `${k.fastest.dtype}, ${k.fastest.batchSize}` : '',
      k.fastest ? gib(k.fastest.peakRssBytes) : '',
      k.ratio ?? '',
      k.ratioInF32 ?? '',
      k.difference === null
        ? ''
        : k.kind === 'generate'
          ? `${k.difference} answers`
          : `${k.difference.toExponential(1)} nats`,
    ]),
  ]);
  if (ratio)
    console.log(
      `${ratio} times lm-eval ${versions.lmEval} with transformers ${versions.transformers}, each kind in its best setting`,
    );
}
const record = { bench: 'eval', ...provenance('eval'), results };
if (options.save) saveRecord('eval', record);
if (options.json) console.log(JSON.stringify(record));
