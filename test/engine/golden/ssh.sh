#!/bin/bash
# Continuo, run handbook: 2 machines, 8 processes on each, over ssh.
# `continuo run --launch ssh` starts this script and answers it. By hand, with nobody to answer:
#   bash THIS_FILE RUN/job --unattended RUN/launch/messages.jsonl
# Every host needs the run folder, and the model and shards that its job names, at the same paths.
run='/shared/me'\''s runs/handbook'

# What each host does: bash ssh.sh --node RANK WORKER_ARGUMENTS
if [ "${1-}" = --node ]; then
  rank=$2
  shift 2
  export PYTHONPATH="$run/launch/worker" PYTHONDONTWRITEBYTECODE=1
  export NCCL_DEBUG=WARN
  module load cuda/13
  source '/opt/my env/activate'
  [ -r "$run/job/job.json" ] || { echo "$(hostname) cannot read $run/job/job.json: every machine needs the run folder at this path." >&2; exit 3; }
  [ "$rank" -ne 0 ] || echo $$ > "$run/launch/ssh.pid"
  exec /opt/py/bin/python -m torch.distributed.run \
  --nnodes=2 --node-rank="$rank" --master-addr=node-1 --master-port=29501 --nproc-per-node=8 --max-restarts=0 --shutdown-timeout=600 \
  -m continuo_worker "$@"
fi

hosts=(me@node-1 node-2)
on() { ssh -o BatchMode=yes -o ServerAliveInterval=30 "$@"; }
# As words for the shell at the other end.
script=$(printf '%q' "$run/launch/ssh.sh")
arguments=$(printf '%q ' "$@")

for host in "${hosts[@]}"; do
  if ! on "$host" "test -r $script" < /dev/null; then
    # The form in which an engine says what only the user can mend.
    echo '{"type": "fatal", "kind": "ConfigError", "message": "'"$host"' cannot be reached by ssh without a password, or does not see the run folder at this path."}'
    exit 4
  fi
done

# A terminal, so that what runs there ends when the connection does.
others=()
for ((rank = 1; rank < ${#hosts[@]}; rank++)); do
  on -tt "${hosts[rank]}" "bash $script --node $rank $arguments" < /dev/null >&2 &
  others+=($!)
done
on "${hosts[0]}" "bash $script --node 0 $arguments" <&0 &
first=$!
stop() { on "${hosts[0]}" "kill -TERM \$(cat $(printf '%q' "$run/launch/ssh.pid"))" < /dev/null; }
trap stop TERM INT
wait "$first"; code=$?
# A signal ends the waiting, not the run.
while kill -0 "$first" 2> /dev/null; do wait "$first"; code=$?; done
if [ ${#others[@]} -gt 0 ]; then
  # The others end with the first, or are ended.
  (sleep "$([ "$code" -eq 0 ] && echo 60 || echo 5)"; kill "${others[@]}") < /dev/null > /dev/null 2>&1 &
  wait "${others[@]}"
fi
exit "$code"
