// Kubernetes: a TrainJob of Kubeflow Trainer v2 (2.2 or newer, whose runtimePatches carry the volumes), or an indexed Job behind a headless
// Service, which needs no operator. A pod a machine, in it torchrun.
import { ConfigError } from '../../base/errors.ts';
import type { KubernetesOptions } from '../../config/index.ts';
import { isOnVolume, machineScript, plainName, quote, sizeOf } from './script.ts';
import { MAX_RESTARTS, meeting, SHUTDOWN_SECONDS } from './torchrun.ts';
import { type BatchLaunch, type LaunchJob, launchFolder } from './types.ts';

/** Pods of a job get suffixes, and a name of 63 characters at most. */
const NAME_LENGTH = 40;
const PORT = 29_500;

/** @throws ConfigError where a volume that the job needs is missing */
export function kubernetesLaunch(job: LaunchJob, options: KubernetesOptions): BatchLaunch {
  checkVolumes(job, options.volumes);
  const { kind } = options;
  const name = plainName(job.name, NAME_LENGTH);
  const text = kind === 'trainjob' ? trainJob(job, options, name) : indexedJob(job, options, name);
  const file = { name: `${kind}.yaml`, text };
  const place = `${launchFolder(job.runFolder)}/${file.name}`;
  const namespace = options.namespace ? [`--namespace=${options.namespace}`] : [];
  const label = kind === 'trainjob' ? 'jobset.sigs.k8s.io/jobset-name' : 'batch.kubernetes.io/job-name';
  return {
    file,
    tool: 'kubectl',
    submit: [
      // What an earlier attempt left; one that still runs is followed, not submitted again.
      ['kubectl', 'delete', '--ignore-not-found', '--filename', place],
      ['kubectl', 'create', '--output=name', '--filename', place],
    ],
    idOf: (output) => /^((?:trainjob|job)\S*\/\S+)$/m.exec(output)?.[1],
    state: (id) => [
      'kubectl',
      'get',
      ...namespace,
      id,
      '--output=jsonpath={.status.conditions[?(@.status=="True")].type}',
    ],
    isOver: (output) => /\b(Complete|Failed)\b/.test(output),
    stop: () => `kubectl delete --filename ${quote(place)}`,
    logs: () => ['kubectl logs', ...namespace, '--prefix --tail=50', `--selector=${label}=${name}`].join(' '),
  };
}

function checkVolumes({ runFolder, needs = [] }: LaunchJob, volumes: Record<string, string>): void {
  const outside = [runFolder, ...needs].filter((one) => !isOnVolume(one, volumes));
  if (outside.length > 0)
    throw new ConfigError(
      `engine.torch.launch.kubernetes.volumes: no volume holds ${outside.join(', ')}. The pods need them at the same paths as here: let output, CONTINUO_CACHE and the model lie on a volume, and give the claim by its folder, such as { /data: training-data }.`,
    );
}

/** As words of YAML, which reads JSON. */
const json = (value: unknown) => JSON.stringify(value);

function indent(lines: readonly string[], by: number): string {
  return lines.map((line) => (line === '' ? '' : ' '.repeat(by) + line)).join('\n');
}

function resources({ gpus }: LaunchJob, { cpus, memory, gpuResource }: KubernetesOptions): string[] {
  const asked = { ...(cpus && { cpu: String(cpus) }), ...(memory && { memory }), [gpuResource]: String(gpus) };
  return [
    'requests:',
    ...entries(asked),
    'limits:',
    ...entries({ [gpuResource]: String(gpus), ...(memory && { memory }) }),
  ];
}

function entries(map: Record<string, string>): string[] {
  return Object.entries(map).map(([key, value]) => `  ${key}: ${json(value)}`);
}

function mounts(volumes: Record<string, string>): string[] {
  return [
    'volumeMounts:',
    ...Object.keys(volumes).map((folder, i) => `  - { name: data-${i}, mountPath: ${json(folder)} }`),
    '  - { name: shm, mountPath: /dev/shm }',
  ];
}

function volumesOf(volumes: Record<string, string>): string[] {
  return [
    'volumes:',
    ...Object.values(volumes).map(
      (claim, i) => `  - { name: data-${i}, persistentVolumeClaim: { claimName: ${json(claim)} } }`,
    ),
    '  # NCCL and the loaders share memory; the default of 64 MiB is too little.',
    '  - { name: shm, emptyDir: { medium: Memory } }',
  ];
}

function head(job: LaunchJob): string {
  return `# Continuo, run ${job.name}: ${sizeOf(job)}. Submit it with kubectl create, as it stands or edited.
# The volumes hold the run folder, and the model and shards that its job names, at the same paths as where it was prepared.`;
}

/** Time for a checkpoint, and for torchrun to end after it. */
const GRACE_SECONDS = SHUTDOWN_SECONDS + 60;

function metadata(name: string, { namespace }: KubernetesOptions): string {
  return `metadata:\n  name: ${json(name)}${namespace ? `\n  namespace: ${json(namespace)}` : ''}`;
}

function trainJob(job: LaunchJob, options: KubernetesOptions, name: string): string {
  const { image, runtime, volumes } = options;
  return `${head(job)}
apiVersion: trainer.kubeflow.org/v1alpha1
kind: TrainJob
${metadata(name, options)}
spec:
  runtimeRef:
    name: ${json(runtime)}
  trainer:
    image: ${json(image)}
    numNodes: ${job.nodes}
    numProcPerNode: ${job.gpus}
    resourcesPerNode:
${indent(resources(job, options), 6)}
    command: ["/bin/bash", "-c"]
    args:
      # Kubeflow sets PET_MASTER_ADDR and PET_MASTER_PORT: the first pod, where all of them meet.
      - |
${indent(machineScript(job, meeting(job.nodes, '"$PET_MASTER_ADDR:$PET_MASTER_PORT"', name)), 8)}
  runtimePatches:
    - manager: continuo.dev/launch
      trainingRuntimeSpec:
        template:
          spec:
            replicatedJobs:
              - name: node
                template:
                  spec:
                    template:
                      spec:
                        # A pod that has to go gets TERM first, and the run makes a checkpoint.
                        terminationGracePeriodSeconds: ${GRACE_SECONDS}
                        containers:
                          - name: node
${indent(mounts(volumes), 28)}
${indent(volumesOf(volumes), 24)}
`;
}

function indexedJob(job: LaunchJob, options: KubernetesOptions, name: string): string {
  const { image, volumes } = options;
  return `${head(job)}
# The pods find each other by the names that this service gives them.
apiVersion: v1
kind: Service
${metadata(name, options)}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector:
    batch.kubernetes.io/job-name: ${json(name)}
---
apiVersion: batch/v1
kind: Job
${metadata(name, options)}
spec:
  completionMode: Indexed
  completions: ${job.nodes}
  parallelism: ${job.nodes}
  backoffLimit: ${MAX_RESTARTS * job.nodes}
  # A pod that was evicted or pre-empted is replaced, and does not count as failed.
  podFailurePolicy:
    rules:
      - action: Ignore
        onPodConditions: [{ type: DisruptionTarget }]
  template:
    spec:
      subdomain: ${json(name)}
      restartPolicy: Never
      # A pod that has to go gets TERM first, and the run makes a checkpoint.
      terminationGracePeriodSeconds: ${GRACE_SECONDS}
      containers:
        - name: node
          image: ${json(image)}
          resources:
${indent(resources(job, options), 12)}
          command: ["/bin/bash", "-c"]
          args:
            - |
${indent(machineScript(job, meeting(job.nodes, `${name}-0.${name}:${PORT}`, name)), 14)}
${indent(mounts(volumes), 10)}
${indent(volumesOf(volumes), 6)}
`;
}
