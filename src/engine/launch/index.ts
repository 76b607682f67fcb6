// The door of the launchers.
export { kubernetesLaunch } from './kubernetes.ts';
export { rayLaunch } from './ray.ts';
export { TRUST_FLAG } from './script.ts';
export { skypilotLaunch } from './skypilot.ts';
export { slurmLaunch } from './slurm.ts';
export { sshProgram, sshScript } from './ssh.ts';
export { SHUTDOWN_SECONDS, type TorchrunOptions, torchrunArgs } from './torchrun.ts';
export { type BatchLaunch, type LaunchFile, type LaunchJob, launchFolder, messagesFile, workerCopy } from './types.ts';
