// Ray: a job of its job submission, whose program asks the cluster for a machine's share of each node and starts torchrun there.
import type { RayOptions } from '../../config/index.ts';
import { machineScript, quote, sizeOf } from './script.ts';
import { meeting } from './torchrun.ts';
import { type BatchLaunch, type LaunchJob, launchFolder } from './types.ts';

export function rayLaunch(job: LaunchJob, options: RayOptions): BatchLaunch {
  const { nodes, gpus, python, runFolder } = job;
  const { address, cpus, pip } = options;
  const environment = JSON.stringify({ ...(pip.length > 0 && { pip }) });
  // The program that the cluster runs says where the machines meet. Ray knows them by address, which their host names need not lead to.
  const local = { isHost: '"$IS_HOST"', address: '"$LOCAL_ADDRESS"' };
  const rendezvous = meeting(nodes, '"$RENDEZVOUS"', '"$RENDEZVOUS_ID"', local);
  const text = `#!/bin/bash
# Continuo, run ${job.name}: ${sizeOf(job)}, on a Ray cluster. bash THIS_FILE submits it.
# Every machine needs the run folder, and the model and shards that its job names, at the same paths.
run=${quote(runFolder)}

# What each machine does; ray_torchrun.py says where they meet.
read -r -d '' node << 'NODE'
${machineScript(job, rendezvous).join('\n')}
NODE

ray job submit --address ${quote(address)} --no-wait --runtime-env-json ${quote(environment)} -- \\
  ${quote(python)} "$run/launch/worker/ray_torchrun.py" --nodes ${nodes} --gpus ${gpus} --cpus ${cpus} "$node"
`;
  const file = { name: 'ray.sh', text };
  const tail = `--address ${quote(address)}`;
  return {
    file,
    tool: 'ray',
    submit: [['bash', `${launchFolder(runFolder)}/${file.name}`]],
    idOf: (output) => /Job '([^']+)' submitted/.exec(output)?.[1],
    state: (id) => ['ray', 'job', 'status', '--address', address, id],
    // As Ray's command words it (ray 2.60, dashboard/modules/job/cli.py); "Status for job" is of one that is not over.
    isOver: (output) => /Job '[^']*' (succeeded|failed|was stopped)/.test(output),
    stop: (id) => `ray job stop ${tail} ${id}`,
    logs: (id) => `ray job logs ${tail} ${id}`,
  };
}
