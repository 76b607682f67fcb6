#!/bin/bash
# Continuo, run handbook: 2 machines, 8 processes on each, on a Ray cluster. bash THIS_FILE submits it.
# Every machine needs the run folder, and the model and shards that its job names, at the same paths.
run='/shared/me'\''s runs/handbook'

# What each machine does; ray_torchrun.py says where they meet.
read -r -d '' node << 'NODE'
run='/shared/me'\''s runs/handbook'
export PYTHONPATH="$run/launch/worker" PYTHONDONTWRITEBYTECODE=1
export NCCL_DEBUG=WARN
module load cuda/13
source '/opt/my env/activate'
[ -r "$run/job/job.json" ] || { echo "$(hostname) cannot read $run/job/job.json: every machine needs the run folder at this path." >&2; exit 3; }
exec /opt/py/bin/python -m torch.distributed.run \
  --nnodes=2 --rdzv-backend=c10d --rdzv-endpoint="$RENDEZVOUS" --rdzv-id="$RENDEZVOUS_ID" --rdzv-conf=is_host="$IS_HOST" --local-addr="$LOCAL_ADDRESS" --nproc-per-node=8 --max-restarts=3 --shutdown-timeout=600 \
  -m continuo_worker "$run/job" --unattended "$run/launch/messages.jsonl"
NODE

ray job submit --address http://127.0.0.1:8265 --no-wait --runtime-env-json '{}' -- \
  /opt/py/bin/python "$run/launch/worker/ray_torchrun.py" --nodes 2 --gpus 8 --cpus 1 "$node"
