// How torchrun is told what it is one of: the only place that knows its options.

/** How the machines of a run find each other. Values may be words of a shell, such as "$SLURM_NODEID". */
export type Rendezvous =
  | { kind: 'alone' }
  /** Places are given, so that rank 0 is on the machine of place 0. */
  | { kind: 'static'; nodeRank: string; address: string; port: string }
  /**
   * The machines agree among themselves, again after one was lost; the store is at the endpoint. `local`: whether it is on this machine, and
   * under which address the others reach this one; without it torchrun guesses both by host names.
   */
  | { kind: 'c10d'; endpoint: string; id: string; local?: { isHost: string; address: string } };

/** Of a queue's machines: a crash inside the job is answered by torchrun, so many times; a lost machine by the queue. */
export const MAX_RESTARTS = 3;

/** How the machines of a queue meet. */
export function meeting(
  nodes: number,
  endpoint: string,
  id: string,
  local?: { isHost: string; address: string },
): Rendezvous {
  return nodes === 1 ? { kind: 'alone' } : { kind: 'c10d', endpoint, id, ...(local && { local }) };
}

export interface TorchrunOptions {
  /** Machines. */
  nodes: number;
  /** Processes on each. */
  gpus: number;
  rendezvous: Rendezvous;
}

/** How long a checkpoint may take that a signal asks for. torchrun kills after 30 s by itself, which a large model needs longer than. */
export const SHUTDOWN_SECONDS = 600;

/** The arguments of `python -m torch.distributed.run` on one machine, up to the program. */
export function torchrunArgs({ nodes, gpus, rendezvous }: TorchrunOptions): string[] {
  return [
    ...placeArgs(nodes, rendezvous),
    `--nproc-per-node=${gpus}`,
    `--max-restarts=${rendezvous.kind === 'c10d' ? MAX_RESTARTS : 0}`,
    `--shutdown-timeout=${SHUTDOWN_SECONDS}`,
  ];
}

function placeArgs(nodes: number, rendezvous: Rendezvous): string[] {
  switch (rendezvous.kind) {
    case 'alone':
      return ['--standalone'];
    case 'static': {
      const { nodeRank, address, port } = rendezvous;
      return [`--nnodes=${nodes}`, `--node-rank=${nodeRank}`, `--master-addr=${address}`, `--master-port=${port}`];
    }
    case 'c10d': {
      const { endpoint, id, local } = rendezvous;
      return [
        ...[`--nnodes=${nodes}`, '--rdzv-backend=c10d', `--rdzv-endpoint=${endpoint}`, `--rdzv-id=${id}`],
        ...(local ? [`--rdzv-conf=is_host=${local.isHost}`, `--local-addr=${local.address}`] : []),
      ];
    }
    default:
      return rendezvous satisfies never;
  }
}
