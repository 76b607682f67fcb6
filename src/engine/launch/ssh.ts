// A list of hosts over ssh: one script that starts torchrun on each. It speaks the engine contract on stdin and stdout, as rank 0 on the first
// host does, so a run is attended as one on this machine is.
import type { SshOptions } from '../../config/index.ts';
import type { EngineProgram } from '../supervisor.ts';
import { CHECK_OF_STORAGE, exports, quote, sizeOf, workerCommand } from './script.ts';
import { type LaunchFile, type LaunchJob, launchFolder } from './types.ts';

const FILE = 'ssh.sh';

/** Rank 0 on the first host is told to stop by TERM; all ranks then stop after the same step. */
export function sshScript(job: LaunchJob, options: SshOptions): LaunchFile {
  const { runFolder, launch } = job;
  const [first = ''] = options.hosts;
  const address = options.address ?? first.replace(/^.*@/, '');
  const port = String(options.port);
  const command = workerCommand(job, { kind: 'static', nodeRank: '"$rank"', address: quote(address), port }, '"$@"');
  const onEach = [
    ...exports(job),
    ...launch.setup,
    CHECK_OF_STORAGE,
    '[ "$rank" -ne 0 ] || echo $$ > "$run/launch/ssh.pid"',
    `exec ${command}`,
  ];
  const text = `#!/bin/bash
# Continuo, run ${job.name}: ${sizeOf(job)}, over ssh.
# \`continuo run --launch ssh\` starts this script and answers it. By hand, with nobody to answer:
#   bash THIS_FILE RUN/job --unattended RUN/launch/messages.jsonl
# Every host needs the run folder, and the model and shards that its job names, at the same paths.
run=${quote(runFolder)}

# What each host does: bash ssh.sh --node RANK WORKER_ARGUMENTS
if [ "\${1-}" = --node ]; then
  rank=$2
  shift 2
${onEach.map((line) => `  ${line}`).join('\n')}
fi

hosts=(${options.hosts.map(quote).join(' ')})
on() { ssh -o BatchMode=yes -o ServerAliveInterval=30 "$@"; }
# As words for the shell at the other end.
script=$(printf '%q' "$run/launch/${FILE}")
arguments=$(printf '%q ' "$@")

for host in "\${hosts[@]}"; do
  if ! on "$host" "test -r $script" < /dev/null; then
    # The form in which an engine says what only the user can mend.
    echo '{"type": "fatal", "kind": "ConfigError", "message": "'"$host"' cannot be reached by ssh without a password, or does not see the run folder at this path."}'
    exit 4
  fi
done

# A terminal, so that what runs there ends when the connection does.
others=()
for ((rank = 1; rank < \${#hosts[@]}; rank++)); do
  on -tt "\${hosts[rank]}" "bash $script --node $rank $arguments" < /dev/null >&2 &
  others+=($!)
done
on "\${hosts[0]}" "bash $script --node 0 $arguments" <&0 &
first=$!
stop() { on "\${hosts[0]}" "kill -TERM \\$(cat $(printf '%q' "$run/launch/ssh.pid"))" < /dev/null; }
trap stop TERM INT
wait "$first"; code=$?
# A signal ends the waiting, not the run.
while kill -0 "$first" 2> /dev/null; do wait "$first"; code=$?; done
if [ \${#others[@]} -gt 0 ]; then
  # The others end with the first, or are ended.
  (sleep "$([ "$code" -eq 0 ] && echo 60 || echo 5)"; kill "\${others[@]}") < /dev/null > /dev/null 2>&1 &
  wait "\${others[@]}"
fi
exit "$code"
`;
  return { name: FILE, text };
}

export function sshProgram(runFolder: string): EngineProgram {
  return { command: 'bash', args: [`${launchFolder(runFolder)}/${FILE}`], takesProfile: false };
}
