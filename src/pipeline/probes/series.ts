// A series of probes: short runs from the same model, each compiled and trained like any run, in a folder of the cache named by all that
// decides its result. A probe that is done leaves its scores; one that was killed goes on from its checkpoint.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { EngineError } from '../../base/errors.ts';
import { readJson, writeJsonAtomic } from '../../base/files.ts';
import { fingerprint } from '../../base/hash.ts';
import { checkpointName } from '../../engine/index.ts';
import type { Plan, ProbeScores } from '../../recipe/index.ts';
import { meanShares, type Run, readRun, roleScore } from '../../runs/index.ts';
import { readJob } from '../../shards/index.ts';
import { modelDigest } from '../facts.ts';
import { compile, train } from '../run.ts';
import type { Prepared } from '../stages.ts';
import type { PipelineOptions } from '../types.ts';

export interface Probe {
  /** For people: "peak LR 4e-4". */
  label: string;
  plan: Plan;
  /** The model that it ends with stays, see ProbeSeries.modelOf. */
  keepsModel?: boolean;
  /** A model folder that its tokens are compared with; removed when the probe is done. Its plan says which that is. */
  reference?: string;
}

export interface ProbeResult {
  base: ProbeScores;
  /** Undefined: training diverged. */
  end?: ProbeScores;
  /** Of a probe whose shares were decided while it went on. */
  mixed?: {
    /** By corpus, mean over the steps from the first decision on. */
    shares: Record<string, number>;
    /** By corpus, nats a token above the reference, mean of the last quarter of the steps; without what was not drawn there. */
    excess: Record<string, number>;
  };
}

export class ProbeSeries {
  private readonly prepared: Prepared;
  private readonly numProbes: number;
  private readonly options: PipelineOptions;
  private numDone = 0;
  private baseEval: string | undefined;

  /** @param numProbes for people */
  constructor(prepared: Prepared, numProbes: number, options: PipelineOptions) {
    this.prepared = prepared;
    this.numProbes = numProbes;
    this.options = options;
  }

  /** @returns undefined when it was stopped; the same call goes on from there */
  async run(probe: Probe): Promise<ProbeResult | undefined> {
    const { options, prepared } = this;
    const folder = this.folderOf(probe.plan);
    const resultFile = path.join(folder, 'result.json');
    const last = path.join(folder, 'checkpoints', checkpointName(probe.plan.numSteps));
    // What another series did not need is made again.
    const lacksModel = probe.keepsModel && this.isDone(probe) && !fs.existsSync(last) && !hasModel(folder);
    if (options.fresh || (lacksModel && readJson<ProbeResult>(resultFile).end))
      fs.rmSync(folder, { recursive: true, force: true });
    this.numDone++;
    if (!fs.existsSync(resultFile)) {
      options.log?.(`Probe ${this.numDone} of ${this.numProbes}: ${probe.label}.`);
      const result = await runProbe(prepared, probe, folder, this.baseEval, options);
      if (!result) return undefined;
      writeJsonAtomic(resultFile, result);
    }
    if (probe.keepsModel && fs.existsSync(last)) fs.renameSync(last, modelIn(folder));
    if (probe.reference) removeReference(folder, probe.reference);
    for (const large of ['checkpoints', 'job']) fs.rmSync(path.join(folder, large), { recursive: true, force: true });
    this.baseEval ??= evalFile(folder, 0);
    return readJson<ProbeResult>(resultFile);
  }

  isDone({ plan }: Probe): boolean {
    return fs.existsSync(path.join(this.folderOf(plan), 'result.json'));
  }

  /** Where the model of a probe stays that keeps it. */
  modelOf({ plan }: Probe): string {
    return modelIn(this.folderOf(plan));
  }

  /** Named by what decides the result; how it is computed (passes, threads) does not. */
  private folderOf(plan: Plan): string {
    const { cache, model, reference, corpora } = this.prepared;
    const { numSteps, seqLen, sequencesPerStep, precision, optimizer, lora, freeze, routers, schedule, phases, seed } =
      plan;
    const { guard, packing, selectTokens, mixing } = plan;
    const identity = fingerprint({
      ...{ numSteps, seqLen, sequencesPerStep, precision, optimizer, lora, freeze, routers, schedule, phases, seed },
      ...{ guard, packing, selectTokens, mixing },
      evaluation: plan.evaluation,
      weights: modelDigest(model),
      ...(reference && { reference: modelDigest(reference) }),
      ...(lora?.from && { adapter: modelDigest(lora.from) }),
      corpora: corpora.map(({ name, role, manifest }) => [name, role, manifest.fingerprint]),
    });
    return path.join(cache, `probe-${identity}`);
  }
}

/** @returns undefined when it was stopped; the same call goes on from there */
export async function runSeries(
  prepared: Prepared,
  probes: readonly Probe[],
  options: PipelineOptions,
): Promise<ProbeResult[] | undefined> {
  const series = new ProbeSeries(prepared, probes.length, options);
  const results: ProbeResult[] = [];
  for (const probe of probes) {
    const result = await series.run(probe);
    if (!result) return undefined;
    results.push(result);
  }
  return results;
}

const modelIn = (folder: string) => path.join(folder, 'model');
const hasModel = (folder: string) => fs.existsSync(modelIn(folder));

/** With what it said of the probe's text. */
function removeReference(folder: string, reference: string): void {
  const job = path.join(folder, 'job');
  const said = fs.existsSync(path.join(job, 'job.json')) ? readJob(job).selectTokens?.cache : undefined;
  for (const large of [said, reference]) if (large) fs.rmSync(large, { recursive: true, force: true });
}

function evalFile(folder: string, step: number): string {
  return path.join(folder, 'evals', `${checkpointName(step)}.json`);
}

async function runProbe(
  prepared: Prepared,
  { plan: given, reference = prepared.reference }: Probe,
  folder: string,
  baseEval: string | undefined,
  options: PipelineOptions,
): Promise<ProbeResult | undefined> {
  const planFile = path.join(folder, 'plan.json');
  // The plan that it was begun with: what was measured of the machine since then must not change it.
  if (!fs.existsSync(planFile)) writeJsonAtomic(planFile, given);
  const plan = readJson<Plan>(planFile);
  // The model as it comes has the same scores in every probe.
  if (baseEval && !fs.existsSync(evalFile(folder, 0))) writeJsonAtomic(evalFile(folder, 0), readJson(baseEval));
  await compile({ ...prepared, reference, runFolder: folder }, plan, { ...options, log: undefined });
  const { threads, recompute } = prepared.config.training;
  try {
    const resources = { threads: options.threads ?? threads, recompute };
    const { status } = await train(path.join(folder, 'job'), plan, { ...options, ...resources });
    if (status === 'stopped') return undefined;
  } catch (error) {
    if (!isDivergence(error)) throw error;
    options.log?.('It diverged.');
  }
  const run = readRun(folder);
  const scoresAt = (step: number): ProbeScores | undefined => {
    const record = run.evals.find((one) => one.step === step);
    const of = (...roles: Parameters<typeof roleScore>[1][]) =>
      record && roles.map((role) => roleScore(record, role)?.bitsPerByte).find((score) => score !== undefined);
    const general = of('general', 'evaluation');
    const domain = of('domain', 'instruction') ?? general;
    return domain === undefined ? undefined : { domain, general };
  };
  return {
    base: scoresAt(0)!,
    end: scoresAt(plan.numSteps),
    ...(plan.mixing && {
      mixed: {
        shares: meanShares(run, plan.mixing.firstStep, plan.numSteps),
        excess: excessAtEnd(run, plan.numSteps),
      },
    }),
  };
}

function excessAtEnd({ metrics }: Run, numSteps: number): Record<string, number> {
  const means = Object.entries(metrics.excessByCorpus).map(([name, column]): [string, number] => {
    const known = column.subarray(Math.floor(0.75 * numSteps)).filter(Number.isFinite);
    return [name, known.reduce((sum, x) => sum + x, 0) / known.length];
  });
  return Object.fromEntries(means.filter(([, mean]) => Number.isFinite(mean)));
}

/** The engine's words for a loss, a gradient or a weight that is no number. */
function isDivergence(error: unknown): boolean {
  return error instanceof EngineError && /is not a number|that are not numbers/.test(error.message);
}
