// The process that puts a run's model to its tasks. Usage: node tasks-process.js REQUEST, a TaskProcessRequest as JSON. Progress and what
// went wrong stand on stderr; the report appears when all is measured.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { isUserError } from '../base/errors.ts';
import { makeFolder, writeFileAtomic, writeJsonAtomic } from '../base/files.ts';
import type { TaskProcessRequest } from './run-tasks.ts';
import { evaluateTasks } from './tasks.ts';

async function main(argument: string): Promise<void> {
  const { model, tasks, seed, reportFile, samplesFolder, threads, quiet } = JSON.parse(argument) as TaskProcessRequest;
  const { report, samples } = await evaluateTasks(
    model,
    { tasks: tasks.names, includePaths: tasks.folders, numFewShot: tasks.fewShot, limit: tasks.limit, seed },
    { threads, quiet, log: quiet ? undefined : (line) => process.stderr.write(`${line}\n`) },
  );
  fs.rmSync(samplesFolder, { recursive: true, force: true });
  makeFolder(samplesFolder, 'keeping the samples of tasks');
  for (const [task, ofTask] of samples)
    writeFileAtomic(
      path.join(samplesFolder, `${task}.jsonl`),
      ofTask.map((sample) => `${JSON.stringify(sample)}\n`).join(''),
    );
  writeJsonAtomic(reportFile, report);
}

process.stdin.on('end', () => process.exit(1));
process.stdin.resume();
main(process.argv[2]!).then(
  () => process.exit(0),
  (error: Error) => {
    process.stderr.write(isUserError(error) ? `error: ${error.message}\n` : `${error.stack}\n`);
    process.exit(1);
  },
);
