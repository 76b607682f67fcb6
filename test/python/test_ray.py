"""`continuo data clean --on` a Ray cluster: three nodes on this machine, one of which is lost in the middle. Needs the built dist/."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from ray.cluster_utils import Cluster

ROOT = Path(__file__).resolve().parents[2]
# A part holds 8 MiB of small files, so of files of more than half of that it holds one.
NUM_FILES, FILE_BYTES = 8, 4_300_000
CLIENT_PORT = 23_791
CONFIG = """
model: {root}/data/base-en-8m
corpora:
  notes: {{ path: "notes/*.jsonl", role: domain, clean: [{{ length: {{ minWords: {min_words} }} }}] }}
budget: {{ steps: 1 }}
"""


@pytest.fixture(scope="module")
def cluster():
    # A lost node is noticed after five health checks, 15 s by default.
    system = dict(health_check_period_ms=500)
    head = dict(num_cpus=1, include_dashboard=False, ray_client_server_port=CLIENT_PORT, _system_config=system)
    started = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        started.add_node(num_cpus=1)
    started.wait_for_nodes()
    yield started
    started.shutdown()


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "notes").mkdir()
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghij", k=5)) for _ in range(500)]
    for i in range(NUM_FILES):
        with open(folder / f"notes/{i}.jsonl", "w") as lines:
            while lines.tell() < FILE_BYTES:
                text = " ".join(rng.choices(words, k=rng.choice([3, 4000])))
                lines.write(json.dumps({"text": text}) + "\n")
    write_config(folder, min_words=5)
    return folder


def write_config(folder: Path, min_words):
    (folder / "continuo.yaml").write_text(CONFIG.format(root=ROOT, min_words=min_words))


def clean(folder: Path, cache: str, *args, **environment):
    command = ["node", ROOT / "dist/cli/main.js", "data", "clean", folder / "continuo.yaml", *args]
    env = {**os.environ, "CONTINUO_PYTHON": sys.executable, "CONTINUO_CACHE": str(folder / cache), **environment}
    return subprocess.Popen([*map(str, command)], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def snapshot(cache: Path):
    """Of every file of a cache its bytes, but for the times in the manifest."""
    files = {str(file.relative_to(cache)): file.read_bytes() for file in sorted(cache.rglob("*")) if file.is_file()}
    for name in files:
        if name.endswith("manifest.json"):
            manifest = json.loads(files[name])
            files[name] = {key: value for key, value in manifest.items() if key not in ("createdAt", "seconds")}
    return files


@pytest.fixture(scope="module")
def local(project):
    process = clean(project, "local", "--quiet")
    assert process.wait() == 0, process.stderr.read()
    files = snapshot(project / "local")
    assert sum("/documents/" in name for name in files) == sum("/removed/" in name for name in files) == NUM_FILES
    return files


def test_same_bytes(cluster, project, local):
    process = clean(project, "on-ray", "--on", cluster.address)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "3 machines with 3 CPUs for 8 shares" in err and "shares done on Ray: 8/8" in err
    assert snapshot(project / "on-ray") == local
    # What is done asks for no cluster.
    assert clean(project, "on-ray", "--on", "127.0.0.1:1").wait() == 0


def test_share_fails(cluster, project):
    assert clean(project, "failing", "--part", "0/1000").wait() == 0
    (folder,) = (project / "failing").glob("curated-*")
    # A folder where a part's documents are to go.
    (folder / "documents/000005.jsonl/in-the-way").mkdir(parents=True)
    process = clean(project, "failing", "--on", cluster.address)
    _, err = process.communicate()
    # As the same command ends without Ray.
    assert process.returncode == 2, err
    assert "error: on " in err and "000005.jsonl" in err and "    at " not in err


def programs(of):
    """The programs that tasks have started, below a process."""
    found = []
    for process in psutil.Process(of).children(recursive=True):
        try:
            if "--part" in process.cmdline():
                found.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            pass
    return found


def wait_for(what):
    until = time.monotonic() + 60
    while not what():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_node_lost(cluster, project, local):
    cache = project / "lost"
    process = clean(project, "lost", "--on", f"ray://127.0.0.1:{CLIENT_PORT}")
    node = [*cluster.worker_nodes][-1]
    raylet = node.all_processes["raylet"][0].process.pid
    under_way = []
    wait_for(lambda: process.poll() is not None or under_way.extend(programs(raylet)) or under_way)
    cluster.remove_node(node, allow_graceful=False)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert under_way and not any(map(psutil.Process.is_running, under_way))
    assert "8/8" in err
    assert snapshot(cache) == local


def test_interrupted(cluster, project):
    process = clean(project, "interrupted", "--on", cluster.address)
    raylet = cluster.head_node.all_processes["raylet"][0].process.pid
    wait_for(lambda: process.poll() is not None or programs(raylet))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == -signal.SIGINT, err
    assert "Stopping: the tasks are cancelled" in err
    wait_for(lambda: not programs(raylet))
    assert len([*(project / "interrupted").glob("curated-*/parts/*.json")]) < NUM_FILES


def test_bad_input(project, tmp_path):
    def error(*args, **environment):
        process = clean(project, "bad", "--on", *args, **environment)
        _, err = process.communicate()
        assert process.returncode == 2 and "    at " not in err
        return err

    assert "no connection to a Ray cluster" in error("127.0.0.1:1")
    (tmp_path / "ray.py").write_text("raise ImportError('No module named ray')")
    assert 'pip install "ray[client]' in error("auto", PYTHONPATH=str(tmp_path))
    write_config(project, min_words='"many"')
    assert "minWords" in error("auto")
