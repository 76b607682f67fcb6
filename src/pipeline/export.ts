// A run that another framework is to train: prepared as for `continuo run`, then written in that framework's layout.

import * as fs from 'node:fs';
import * as path from 'node:path';
import { makeTemporaryFolder } from '../base/files.ts';
import { type Exported, exportJob, type Framework, refuseForeign } from '../export/index.ts';
import { openJob } from '../shards/index.ts';
import { compile, keptPlan, refuseErrors, sayChecks } from './run.ts';
import { prepare } from './stages.ts';
import type { PipelineOptions, StageRecord } from './types.ts';

export interface ExportResult extends Exported {
  framework: Framework;
  folder: string;
  stages: StageRecord[];
}

/** Nothing is written into the run's folder; a plan that a run was begun with is kept to. */
export async function exportRun(
  configFile: string,
  framework: Framework,
  out: string,
  options: PipelineOptions = {},
): Promise<ExportResult> {
  const folder = path.resolve(out);
  refuseForeign(folder);
  const prepared = await prepare(configFile, options);
  const { stages } = prepared;
  const plan = keptPlan(prepared) ?? prepared.plan;
  refuseErrors(plan, options.strict);
  sayChecks(plan, options);
  const temporary = makeTemporaryFolder(folder, 'compiling the job');
  try {
    // Guards are not carried over; to measure what they need may take long.
    const { guard: _guard, selectTokens: _selectTokens, ...bare } = plan;
    await stages.run('job', async () => {
      await compile({ ...prepared, runFolder: temporary }, bare, options);
      return { value: undefined, reused: false };
    });
    const job = openJob(path.join(temporary, 'job'));
    try {
      const model = path.resolve(prepared.model);
      const config = path.resolve(configFile);
      const exported = await stages.run('export', async () => {
        const value = await exportJob(framework, { plan, job, model, config, folder, quiet: options.quiet });
        return { value, reused: false };
      });
      return { framework, folder, ...exported, stages: stages.records };
    } finally {
      job.close();
    }
  } finally {
    fs.rmSync(temporary, { recursive: true, force: true });
  }
}
