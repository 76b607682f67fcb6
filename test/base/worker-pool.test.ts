import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EngineError } from '../../src/base/errors.ts';
import { mapOnWorkers } from '../../src/base/worker-pool.ts';

let folder: string;
let file: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-workers-'));
  file = path.join(folder, 'worker.mjs');
  const pool = pathToFileURL(path.join(import.meta.dirname, '../../dist/base/worker-pool.js'));
  fs.writeFileSync(
    file,
    `import { workerData } from 'node:worker_threads';
    import { serveBatches } from '${pool}';
    serveBatches((n) => {
      // The first batches take longest.
      const end = performance.now() + Math.max(0, 12 - n);
      while (performance.now() < end);
      if (n === workerData.throwAt) throw new Error('cannot do ' + n);
      if (n === workerData.exitAt) process.exit(3);
      return { result: n * n };
    });`,
  );
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

async function* upTo(n: number) {
  for (let i = 0; i < n; i++) yield i;
}

async function squares(numWorkers: number, workerData: object = {}): Promise<[number, number][]> {
  const list: [number, number][] = [];
  const options = { file, workerData, numWorkers, name: 'squaring' };
  for await (const { batch, result } of mapOnWorkers<number, number>(upTo(20), (n) => n, options))
    list.push([batch, result]);
  return list;
}

describe('mapOnWorkers', () => {
  it.each([1, 3])('yields results in the order of the batches, with %i workers', async (numWorkers) => {
    expect(await squares(numWorkers)).toEqual(Array.from({ length: 20 }, (_, i) => [i, i * i]));
  });

  it('says what a worker said, or that it ended', async () => {
    await expect(squares(2, { throwAt: 7 })).rejects.toThrow(new EngineError('A squaring worker failed: cannot do 7'));
    await expect(squares(2, { exitAt: 7 })).rejects.toThrow(/^A squaring worker failed: it ended with code 3$/);
  });
});
