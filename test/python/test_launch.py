"""Runs on several machines: two torchruns on this one, over gloo, started as ssh, Slurm and a Ray cluster would start them (bin/ has stand-ins).

Needs the built dist/ and the packages of requirements.txt.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harness import ROOT
from ray.cluster_utils import Cluster
from test_torch_engine import FAMILIES, copy_job, largest_difference, make_job, metrics

CLI = ["node", str(ROOT / "dist/cli/main.js")]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """Text and a model, and the losses of the job by one process."""
    run = make_job(tmp_path_factory.mktemp("corpora"), FAMILIES["llama"], 4)
    return run.parent


def write_config(corpora: Path, folder: Path, launch: dict, **changes) -> Path:
    config = {
        "name": "tiny",
        "model": str(corpora / "model"),
        "corpora": {name: {"path": str(corpora / f"{name}.jsonl"), "role": name} for name in ("domain", "general")},
        "budget": {"steps": 8},
        "training": {"seqLen": 64, "batchTokens": 256, "precision": "f32"},
        "checkpoints": {"every": "2 steps"},
        "engine": {"torch": {"nodes": 2, "gpus": 1, "launch": {"env": {"OMP_NUM_THREADS": "1"}, **launch}}},
        "output": str(folder / "my runs"),
        **changes,
    }
    file = folder / "continuo.yaml"
    file.write_text(json.dumps(config))
    return file


def environment(folder: Path) -> dict[str, str]:
    slurm = folder / "slurm"
    slurm.mkdir(exist_ok=True)
    (slurm / "over").unlink(missing_ok=True)
    return {
        **os.environ,
        "CONTINUO_PYTHON": sys.executable,
        "CONTINUO_CACHE": str(folder / "cache"),
        "PATH": f"{ROOT / 'test/python/bin'}:{os.environ['PATH']}",
        "FAKE_SLURM": str(slurm),
    }


def start(config: Path, target: str, **env: str) -> subprocess.Popen:
    command = [*CLI, "run", str(config), "--launch", target, "--json", "--threads", "1"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return subprocess.Popen(command, env={**environment(config.parent), **env}, **pipes)


def launch(config: Path, target: str, **env: str) -> dict:
    process = start(config, target, **env)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    return json.loads(out)


def worlds(run: Path) -> list[int]:
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event["worldSize"] for event in events if "worldSize" in event]


@pytest.fixture(scope="module")
def alone(corpora, tmp_path_factory):
    """The same run by one process on this machine."""
    folder = tmp_path_factory.mktemp("alone")
    config = write_config(corpora, folder, {}, engine="torch")
    command = [*CLI, "run", str(config), "--json", "--threads", "1"]
    subprocess.run(command, env=environment(folder), check=True, capture_output=True)
    return metrics(folder / "my runs/tiny")


def test_two_hosts_over_ssh(corpora, alone, tmp_path):
    # Two names of one machine.
    ssh = {"hosts": ["127.0.0.1", "localhost"], "port": 29611}
    result = launch(write_config(corpora, tmp_path, {"ssh": ssh}), "ssh")
    run = tmp_path / "my runs/tiny"
    assert result["summary"]["status"] == "finished"
    assert worlds(run) == [2]
    assert largest_difference(metrics(run), alone) < 1e-5


def test_a_host_that_does_not_see_the_run_is_named(corpora, tmp_path):
    config = write_config(corpora, tmp_path, {"ssh": {"hosts": ["127.0.0.1", "localhost"]}})
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "ssh").write_text("#!/bin/bash\nexit 1\n")
    (fake / "ssh").chmod(0o755)
    env = environment(tmp_path)
    env["PATH"] = f"{fake}:{env['PATH']}"
    command = [*CLI, "run", str(config), "--launch", "ssh", "--threads", "1"]
    ended = subprocess.run(command, env=env, capture_output=True, text=True)
    assert ended.returncode == 2
    assert "error: 127.0.0.1 cannot be reached by ssh without a password, or does not see" in ended.stderr


def test_a_job_of_slurm_is_submitted_and_followed(corpora, alone, tmp_path):
    config = write_config(corpora, tmp_path, {"slurm": {"partition": "gpu"}})
    result = launch(config, "slurm")
    run = tmp_path / "my runs/tiny"
    assert result["summary"]["status"] == "finished"
    assert worlds(run) == [2]
    assert largest_difference(metrics(run), alone) < 1e-5


def test_a_job_that_runs_out_of_time_checkpoints_and_goes_on_from_the_queue(corpora, tmp_path):
    config = write_config(corpora, tmp_path, {"slurm": {}}, budget={"steps": 120}, checkpoints={"every": "60 steps"})
    process = start(config, "slurm")
    run = tmp_path / "my runs/tiny"
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 3:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    # As Slurm does so many seconds before the time limit.
    os.kill(int((tmp_path / "slurm/pid").read_text()), signal.SIGUSR1)
    out, errors = process.communicate()
    assert process.returncode == 0, errors
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    stopped = next(event for event in events if event["type"] == "stop")
    resumed = next(event for event in events if event["type"] == "resume")
    assert 0 < stopped["step"] == resumed["step"] < 120
    assert len(metrics(run)) == 120


@pytest.fixture(scope="module")
def cluster():
    # Two machines of one process each. Their address is not what this machine's host name leads to, as on many clusters.
    started = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1, include_dashboard=False))
    started.add_node(num_cpus=1)
    started.wait_for_nodes()
    yield started
    started.shutdown()


def test_a_job_on_two_machines_of_a_ray_cluster(cluster, corpora, alone, tmp_path):
    config = write_config(corpora, tmp_path, {"ray": {"cpus": 1}})
    result = launch(config, "ray", RAY_ADDRESS=cluster.address, FAKE_RAY=str(tmp_path))
    run = tmp_path / "my runs/tiny"
    assert result["summary"]["status"] == "finished"
    assert worlds(run) == [2]
    assert largest_difference(metrics(run), alone) < 1e-5


def test_a_fatal_job_is_not_started_again_by_torchrun(corpora):
    run = copy_job(corpora / "run", "damaged")
    order = run / "job/order-00000.bin"
    order.write_bytes(order.read_bytes()[:-1] + b"\x07")
    messages = run / "messages.jsonl"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "--max-restarts=2"]
    worker = ["-m", "continuo_worker", str(run / "job"), "--unattended", str(messages)]
    env = {**os.environ, "PYTHONPATH": str(ROOT / "worker"), "OMP_NUM_THREADS": "1"}
    assert subprocess.run([*command, *worker], env=env, capture_output=True).returncode != 0
    said = [json.loads(line)["type"] for line in messages.read_text().splitlines()]
    assert said == ["hello", "fatal"]
