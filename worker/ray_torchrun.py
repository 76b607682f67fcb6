"""The program of a job of Ray: asks the cluster for a share of each of so many machines, and runs a script of bash there (torchrun).

Usage: python ray_torchrun.py --nodes N --gpus G --cpus C SCRIPT. In the script's environment are RENDEZVOUS (HOST:PORT on the first machine),
RENDEZVOUS_ID, IS_HOST (1 on the first machine, else 0) and LOCAL_ADDRESS. Exit code: the largest of the scripts'.
"""

import argparse
import ctypes
import os
import signal
import socket
import subprocess
import sys
import uuid

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

PR_SET_PDEATHSIG = 1


def meeting_place() -> str:
    """An address of this machine, with a port that is free now."""
    with socket.socket() as one:
        one.bind(("", 0))
        return f"{ray.util.get_node_ip_address()}:{one.getsockname()[1]}"


def run(script: str, environment: dict[str, str]) -> int:
    environment = {**environment, "LOCAL_ADDRESS": ray.util.get_node_ip_address()}
    # When Ray ends the task, torchrun is told to stop.
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    tell = libc and (lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))
    process = subprocess.Popen(["bash", "-c", script], env={**os.environ, **environment}, preexec_fn=tell)
    try:
        return process.wait()
    except KeyboardInterrupt:
        # The task was cancelled.
        process.terminate()
        return process.wait()


def main() -> int:
    parser = argparse.ArgumentParser()
    for name in ("--nodes", "--gpus", "--cpus"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("script")
    options = parser.parse_args()
    ray.init(address="auto")
    # A cluster without GPUs trains on processors.
    gpus = options.gpus if ray.cluster_resources().get("GPU", 0) > 0 else 0
    bundle = {"CPU": options.cpus, **({"GPU": gpus} if gpus else {})}
    group = placement_group([bundle] * options.nodes, strategy="STRICT_SPREAD")
    large = [
        node for node in ray.nodes() if node["Alive"] and all(node["Resources"].get(k, 0) >= bundle[k] for k in bundle)
    ]
    print(f"waiting for {options.nodes} machines with {bundle} each; the cluster has {len(large)} of that size", flush=True)
    ray.get(group.ready())

    def on(index: int, **share: int) -> dict[str, object]:
        place = PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=index)
        return dict(scheduling_strategy=place, max_retries=0, **share)

    endpoint = ray.get(ray.remote(meeting_place).options(**on(0, num_cpus=0)).remote())
    environment = {"RENDEZVOUS": endpoint, "RENDEZVOUS_ID": uuid.uuid4().hex}
    share = dict(num_cpus=options.cpus, num_gpus=gpus)
    tasks = [
        ray.remote(run).options(**on(i, **share)).remote(options.script, {**environment, "IS_HOST": str(int(i == 0))})
        for i in range(options.nodes)
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        return max(abs(code) for code in ray.get(tasks))
    except SystemExit:
        # Without this, tasks outlive a stopped job for as long as Ray takes to miss it.
        for task in tasks:
            ray.cancel(task)
        ray.wait(tasks, num_returns=len(tasks))
        raise


if __name__ == "__main__":
    sys.exit(main())
