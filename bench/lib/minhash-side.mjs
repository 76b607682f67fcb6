// The side of Continuo in bench/dedup.mjs, a process of its own: node minhash-side.mjs TEXTS.jsonl FOLDER. One thread, as the peer.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { FINEWEB_MIN_HASH, findDuplicates, readDuplicates, SignatureWriter } from '../../dist/corpus/index.js';
import { peakMemoryBytes, resetPeakMemory } from './machine.mjs';

const [source, folder] = process.argv.slice(2);
const texts = fs
  .readFileSync(source, 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line).text);
// Near copies alone, since that is what the peer looks for.
const options = { exact: false, minHash: FINEWEB_MIN_HASH };
const part = { signatures: path.join(folder, 'signatures'), duplicates: path.join(folder, 'duplicates') };
const seconds = {};
const cpuSeconds = {};

async function timed(name, call) {
  const [start, cpuStart] = [performance.now(), process.cpuUsage()];
  await call();
  const { user, system } = process.cpuUsage(cpuStart);
  seconds[name] = (performance.now() - start) / 1000;
  cpuSeconds[name] = (user + system) / 1e6;
}

resetPeakMemory();
await timed('signatures', () => {
  const writer = new SignatureWriter(part.signatures, options);
  for (const text of texts) writer.add(text);
  writer.finish();
});
await timed('search', () => findDuplicates({ parts: [part], options, folder }));
const removed = [...readDuplicates(part.duplicates)].map(({ index }) => index);
console.log(JSON.stringify({ seconds, cpuSeconds, peakBytes: peakMemoryBytes(), removed }));
