// What a record says about where it was taken, and memory as Linux counts it.
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { root } from './models.mjs';

/** Machine, date, commit and command of a record. */
export function provenance(bench) {
  const git = spawnSync('git', ['describe', '--always', '--dirty', '--abbrev=7'], { cwd: root, encoding: 'utf8' });
  const given = process.argv.slice(2).map((word) => (word.includes('/') ? path.basename(word) : word));
  return {
    machine: `${os.cpus()[0].model.trim()}, ${os.availableParallelism()} cores, ${Math.round(os.totalmem() / 2 ** 30)} GiB`,
    date: new Date().toISOString().slice(0, 10),
    commit: git.stdout.trim(),
    command: ['npm run bench --', bench, ...given].join(' '),
  };
}

/** Bytes that a new program may use without pushing others out. */
export function availableBytes() {
  const line = /^MemAvailable:\s+(\d+) kB$/m.exec(fs.readFileSync('/proc/meminfo', 'utf8'));
  return line ? Number(line[1]) * 1024 : os.freemem();
}

/** Forgets the peak of this process's memory so far (proc(5), clear_refs), so that loading a model does not count. */
export function resetPeakMemory() {
  globalThis.gc?.();
  fs.writeFileSync('/proc/self/clear_refs', '5');
}

/** The most memory that this process held since resetPeakMemory(), bytes. */
export function peakMemoryBytes() {
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;
}

/** What utilisation is measured against: the faster of the machine's f32 and bf16 multiply-adds, GFLOP/s. */
export const peakOf = ({ bf16, f32 }) => Math.max(bf16, f32);

/** Seconds a call: the best of several, as others' load only ever adds. No new call begins after `seconds`, but three are always made. */
export function fastest(call, seconds) {
  let best = Infinity;
  const until = performance.now() + seconds * 1000;
  for (let runs = 0; runs < 3 || performance.now() < until; runs++) {
    const start = performance.now();
    call();
    best = Math.min(best, (performance.now() - start) / 1000);
  }
  return best;
}

export const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
export const round = (x, digits = 1) => (Number.isFinite(x) ? Number(x.toFixed(digits)) : null);

/** Reads or writes bench/results/NAME.json. */
export const recordFile = (name) => path.join(root, 'bench/results', `${name}.json`);
export const readRecord = (name) =>
  fs.existsSync(recordFile(name)) ? JSON.parse(fs.readFileSync(recordFile(name), 'utf8')) : undefined;
export function saveRecord(name, record) {
  fs.writeFileSync(recordFile(name), `${JSON.stringify(record, null, 2)}\n`);
  process.stderr.write(`written: bench/results/${name}.json\n`);
}

/** Prints rows of cells in columns, the first left-aligned. */
export function printTable(rows) {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => String(row[i]).length)));
  for (const row of rows)
    console.log(
      row
        .map((cell, i) => (i === 0 ? String(cell).padEnd(widths[i]) : String(cell).padStart(widths[i])))
        .join('  ')
        .trimEnd(),
    );
}
