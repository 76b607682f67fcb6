// SkyPilot: a task on machines of a cloud. They share no disk with this one: the job goes there with the task, and the run folder comes back
// over ssh.
import { ConfigError } from '../../base/errors.ts';
import type { SkypilotOptions } from '../../config/index.ts';
import { isOnVolume, machineScript, plainName, quote, sizeOf } from './script.ts';
import { meeting } from './torchrun.ts';
import { type BatchLaunch, type LaunchJob, launchFolder } from './types.ts';

const PORT = 29_500;
/** Minutes after which machines that do nothing are given back; the run folder is fetched before. */
const IDLE_MINUTES = 30;

/** @throws ConfigError where several machines have no volume for the run folder in common */
export function skypilotLaunch(job: LaunchJob, options: SkypilotOptions): BatchLaunch {
  const { runFolder, nodes } = job;
  if (nodes > 1 && !isOnVolume(runFolder, options.volumes))
    throw new ConfigError(
      `engine.torch.launch.skypilot.volumes: ${nodes} machines write one checkpoint together, and no volume holds the run folder ${runFolder}. Give a volume of SkyPilot by its folder, such as { /data: my-volume }, and let output lie in it; or take nodes: 1.`,
    );
  const cluster = `continuo-${plainName(job.name, 30)}`;
  const file = { name: 'skypilot.yaml', text: task(job, options) };
  const place = `${launchFolder(runFolder)}/${file.name}`;
  return {
    file,
    tool: 'sky',
    submit: [
      [
        'sky',
        'launch',
        '--yes',
        '--detach-run',
        '--down',
        `--idle-minutes-to-autostop=${IDLE_MINUTES}`,
        '--cluster',
        cluster,
        place,
      ],
    ],
    idOf: () => cluster,
    state: (id) => ['sky', 'queue', id],
    isOver: (output) => !/\b(INIT|PENDING|SETTING_UP|RUNNING)\b/.test(output),
    stop: (id) => `sky cancel --all ${id}`,
    logs: (id) => `sky logs ${id}`,
    // SkyPilot gives its machines names in ssh's configuration.
    fetch: (id) => ['rsync', '--archive', '--exclude=*.tmp', `${id}:${runFolder}/`, `${runFolder}/`],
  };
}

const json = (value: unknown) => JSON.stringify(value);

function task(job: LaunchJob, options: SkypilotOptions): string {
  const { nodes, runFolder, needs = [] } = job;
  const { accelerators, infra, spot, cpus, memory, image, volumes } = options;
  const resources = Object.entries({
    infra,
    accelerators,
    cpus,
    memory,
    image_id: image,
    ...(spot && { use_spot: true }),
  }).filter(([, value]) => value !== undefined);
  const rendezvous = meeting(nodes, `"$head:${PORT}"`, '"$SKYPILOT_TASK_ID"');
  const block = (lines: readonly string[]) => lines.map((line) => `  ${line}`).join('\n');
  const findHead = nodes === 1 ? [] : ['head=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)'];
  return `# Continuo, run ${job.name}: ${sizeOf(job)}, by SkyPilot. Submit it with sky launch, as it stands or edited.
name: ${json(plainName(job.name, 30))}
num_nodes: ${nodes}
resources:${resources.length === 0 ? ' {}' : `\n${block(resources.map(([key, value]) => `${key}: ${json(value)}`))}`}
${Object.keys(volumes).length > 0 ? `volumes:\n${block(Object.entries(volumes).map(([folder, name]) => `${json(folder)}: ${json(name)}`))}\n` : ''}# The job, and the model and shards that it reads, at the same paths as here.
file_mounts:
${block([runFolder, ...needs].map((one) => `${json(one)}: ${json(one)}`))}
setup: |
${block([`${quote(job.python)} -m pip install --quiet --requirement ${quote(`${launchFolder(runFolder)}/requirements.txt`)}`])}
run: |
${block(machineScript(job, rendezvous, findHead))}
`;
}
