// Our ids of texts, for the Python tests.
// Usage: node test/python/token-ids.mjs REQUESTS.json
// A list of requests: { tokenizer: FILE.json, texts: FILE.jsonl (a JSON string a line), out: FILE, engine: 'native' or 'reference' }.
// OUT gets int32: the number of ids of each text, then all ids. Prints what ran, as JSON.
import * as fs from 'node:fs';
import { tokenizerFromJson } from '../../dist/tokenizer/index.js';

const ran = JSON.parse(fs.readFileSync(process.argv[2], 'utf8')).map(({ tokenizer: file, texts, out, engine }) => {
  process.env.CONTINUO_KERNELS = engine === 'reference' ? 'reference' : '';
  const json = JSON.parse(fs.readFileSync(file, 'utf8'));
  const tokenizer = tokenizerFromJson(json, { eos_token: anyToken(json) });
  const lines = fs.readFileSync(texts, 'utf8').split('\n').slice(0, -1);
  const started = performance.now();
  const encoded = lines.map((line) => tokenizer.encodeArray(JSON.parse(line)));
  const seconds = (performance.now() - started) / 1000;
  const handle = fs.openSync(out, 'w');
  fs.writeSync(
    handle,
    Int32Array.from(encoded, (ids) => ids.length),
  );
  for (const ids of encoded) if (ids.length > 0) fs.writeSync(handle, ids);
  fs.closeSync(handle);
  return { engine: tokenizer.engine, reason: tokenizer.engineReason, native: tokenizer.isNative, seconds };
});
console.log(JSON.stringify(ran));

function anyToken({ model, added_tokens: added }) {
  return added[0]?.content ?? (Array.isArray(model.vocab) ? model.vocab[0][0] : Object.keys(model.vocab)[0]);
}
