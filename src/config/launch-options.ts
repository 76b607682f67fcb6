// The keys under `engine: { torch: ... }` of continuo.yaml: processes and machines, and how each kind of cluster is asked for them. Values that
// the cluster's own defaults cover stay out of the generated files.
import * as path from 'node:path';
import { z } from 'zod';
import { map, number, oneOf, text, truth, whole } from './fields.ts';

export const LAUNCH_TARGETS = ['ssh', 'slurm', 'kubernetes', 'ray', 'skypilot'] as const;
export type LaunchTarget = (typeof LAUNCH_TARGETS)[number];

export interface SshOptions {
  /** As ssh takes them; the first one is where rank 0 runs. */
  hosts: string[];
  /** Of the first host, where the others meet it. */
  port: number;
  /** How the others reach the first host, where that is another name than ssh's. */
  address?: string;
}

export interface SlurmOptions {
  partition?: string;
  account?: string;
  qos?: string;
  /** As sbatch takes it, such as 24:00:00. */
  time?: string;
  /** For each machine. */
  cpus?: number;
  memory?: string;
  constraint?: string;
  /** Seconds before the time limit at which the run checkpoints and goes back into the queue. */
  warning: number;
  requeue: boolean;
  /** Further options of sbatch, as they stand. */
  options: string[];
}

export interface KubernetesOptions {
  /** A TrainJob of Kubeflow Trainer v2, or an indexed Job with a headless Service. */
  kind: 'trainjob' | 'job';
  image: string;
  namespace?: string;
  /** TrainJob alone. */
  runtime: string;
  /** Persistent volume claims by the folder they are mounted at, which holds the same files here. */
  volumes: Record<string, string>;
  cpus?: number;
  memory?: string;
  /** The resource that stands for a GPU. */
  gpuResource: string;
}

export interface RayOptions {
  /** Of the cluster's dashboard. */
  address: string;
  /** CPUs that a machine sets aside. */
  cpus: number;
  /** Packages that Ray installs first, as its runtime environment takes them. */
  pip: string[];
}

export interface SkypilotOptions {
  /** As SkyPilot takes them, such as H100:8; without: the file's gpus of any kind are not asked for. */
  accelerators?: string;
  infra?: string;
  spot: boolean;
  cpus?: string;
  memory?: string;
  image?: string;
  /** SkyPilot volumes by the folder they are mounted at, for several machines. */
  volumes: Record<string, string>;
}

export interface LaunchConfig {
  /** The interpreter on the machines. */
  python?: string;
  env: Record<string, string>;
  /** Lines of bash that each machine runs first. */
  setup: string[];
  ssh?: SshOptions;
  slurm?: SlurmOptions;
  kubernetes?: KubernetesOptions;
  ray?: RayOptions;
  skypilot?: SkypilotOptions;
}

/** One line: it becomes a line of a file. */
const line = (what: string) => text(what).refine((value) => !/[\r\n]/.test(value), { error: `${what}, on one line` });
const port = number('a port from 1024 to 65535', (x) => Number.isInteger(x) && x >= 1024 && x <= 65535);
const folders = (what: string) =>
  z
    .record(z.string(), line(what), { error: `a map from folder to ${what}, such as { /data: training-data }` })
    .refine((value) => Object.keys(value).every((folder) => path.posix.isAbsolute(folder)), {
      error: `a map from folder to ${what}; folders begin with /`,
    });

const ssh = map({
  hosts: z
    .array(line('a host'), { error: 'a list of hosts such as [node-1, node-2]' })
    .min(1, { error: 'at least one host' }),
  port: port.default(29_500),
  address: line('a host name or address').optional(),
});

const slurm = map({
  partition: line('a partition').optional(),
  account: line('an account').optional(),
  qos: line('a quality of service').optional(),
  time: line('a time limit such as 24:00:00').optional(),
  cpus: whole.optional(),
  memory: line('memory of a machine such as 500G').optional(),
  constraint: line('features of machines').optional(),
  warning: whole.default(300),
  requeue: truth.default(true),
  options: z.array(line('an option such as --exclusive'), { error: 'a list of options of sbatch' }).default([]),
});

const kubernetes = map({
  kind: oneOf(['trainjob', 'job']).default('trainjob'),
  image: line('a container image with PyTorch and transformers'),
  namespace: line('a namespace').optional(),
  runtime: line('a training runtime').default('torch-distributed'),
  volumes: folders('a persistent volume claim'),
  cpus: whole.optional(),
  memory: line('memory such as 500Gi').optional(),
  gpuResource: line('a resource such as nvidia.com/gpu').default('nvidia.com/gpu'),
});

const ray = map({
  address: line("the dashboard's address").default('http://127.0.0.1:8265'),
  cpus: whole.default(1),
  pip: z.array(line('a package'), { error: 'a list of packages' }).default([]),
});

const skypilot = map({
  accelerators: line('accelerators such as H100:8').optional(),
  infra: line('where, such as aws/us-east-1').optional(),
  spot: truth.default(false),
  cpus: line('CPUs such as 16+').optional(),
  memory: line('memory in GB such as 128+').optional(),
  image: line('an image such as docker:...').optional(),
  volumes: folders('a volume of SkyPilot').default({}),
});

const launch = map({
  python: line('an interpreter').optional(),
  env: z
    .record(
      z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, { error: 'names of environment variables' }),
      z.coerce.string(),
      {
        error: 'a map of environment variables',
      },
    )
    .default({}),
  setup: z.array(line('a line of bash'), { error: 'a list of lines of bash' }).default([]),
  ssh: ssh.optional(),
  slurm: slurm.optional(),
  kubernetes: kubernetes.optional(),
  ray: ray.optional(),
  skypilot: skypilot.optional(),
});

const torch = map({
  gpus: whole.optional(),
  nodes: whole.optional(),
  trustRemoteCode: truth.optional(),
  gpu: line('a GPU, such as h100').optional(),
  launch: launch.optional(),
});

/** By what stands there, so that a message speaks of the key that is wrong. */
export function engineSchema(value: unknown) {
  const what = 'native, torch, or { torch: { gpus: 8 } }';
  return typeof value === 'object' && value !== null
    ? map({ torch }, what)
    : z.enum(['native', 'torch'], { error: what });
}

/** What a key that is left out says. */
export function defaultLaunch(): LaunchConfig {
  return launch.parse({});
}

/** With the targets that need no key of the file. */
export function withTargets(
  given: LaunchConfig,
): LaunchConfig & Required<Pick<LaunchConfig, 'slurm' | 'ray' | 'skypilot'>> {
  return {
    ...given,
    slurm: given.slurm ?? slurm.parse({}),
    ray: given.ray ?? ray.parse({}),
    skypilot: given.skypilot ?? skypilot.parse({}),
  };
}
