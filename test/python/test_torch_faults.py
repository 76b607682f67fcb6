"""What a run of the PyTorch engine survives and how it says what it does not: ranks that are killed or stand still, full disks, errors.

Two ranks over gloo on this machine. Needs the built dist/ and the packages of requirements.txt.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from test_torch_engine import ENVIRONMENT, FAMILIES, copy_job, end, largest_difference, make_job, metrics, start, train

STEPS = 24


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One job, trained by one process without a break."""
    rules = {"checkpoint": {"everySteps": 6, "keep": 2}}
    run = make_job(tmp_path_factory.mktemp("whole"), FAMILIES["llama"], STEPS, **rules)
    train(run)
    return run


def launch(run: Path, restarts: int, **environment: str) -> subprocess.Popen:
    """As a queue's job does it: torchrun starts the ranks again, nobody answers them."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [f"--max-restarts={restarts}", "--shutdown-timeout=60", "-m", "continuo_worker", str(run / "job")]
    command += ["--threads", "1", "--unattended", str(run / "messages.jsonl")]
    return subprocess.Popen(command, env={**ENVIRONMENT, **environment}, stderr=subprocess.PIPE, text=True)


def lines(file: Path) -> list[dict]:
    """Whole ones."""
    return [json.loads(line) for line in file.read_text().split("\n")[:-1]] if file.exists() else []


def until(process: subprocess.Popen, holds: Callable[[], bool]) -> None:
    while not holds():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)


def ranks_of(process: subprocess.Popen) -> dict[int, int]:
    """Process ids by rank."""
    found = {}
    for child in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        rank = [v.removeprefix(b"RANK=") for v in variables if v.startswith(b"RANK=")]
        if rank:
            found[int(rank[0])] = child
    return found


def test_ranks_that_are_killed_or_stand_still_lose_the_steps_since_the_checkpoint(whole):
    run = copy_job(whole, "killed")
    process = launch(run, 2, CONTINUO_RANK_TIMEOUT="8", CONTINUO_ASYNC_CHECKPOINTS="1")
    steps = lambda: lines(run / "metrics.jsonl")  # noqa: E731
    # In the middle of a step after the first checkpoint, then while one is being written.
    until(process, lambda: len(steps()) > 8)
    os.kill(ranks_of(process)[1], signal.SIGKILL)
    until(process, lambda: (run / "checkpoints/step-00000012.tmp").exists() or len(steps()) >= 20)
    os.kill(ranks_of(process)[0], signal.SIGSTOP)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors
    events = lines(run / "events.jsonl")
    resumed = [event["step"] for event in events if event["type"] == "resume"]
    assert len(resumed) == 2 and resumed[0] == 6 and resumed[1] in (6, 12)
    said = [event["message"] for event in events if event["type"] == "error"]
    assert len(said) == 2
    assert "rank 1 (" in said[0] and "is gone (killed" in said[0]
    assert "rank 0 (" in said[1] and "does not run any more" in said[1] and "The limit is 8 s" in said[1]
    # Repeated steps have the same values, and none is missing.
    written = steps()
    assert [line["step"] for line in metrics(run)] == list(range(STEPS))
    assert len(written) > STEPS
    assert largest_difference(metrics(run), metrics(whole)) < 1e-5
    by_step = {line["step"]: line["loss"] for line in metrics(run)}
    assert all(line["loss"] == by_step[line["step"]] for line in written)
    names = sorted(folder.name for folder in (run / "checkpoints").iterdir())
    assert names == ["step-00000018", "step-00000024"]
    for event in events:
        if event["type"] == "checkpoint":
            assert 0 < event["seconds"] <= event["secondsUntilSafe"]


def test_two_ranks_stop_on_a_signal_and_more_or_fewer_go_on(whole):
    run = copy_job(whole, "stopped")
    process = start(run)
    for line in process.stdout:
        if json.loads(line).get("step") == 3:
            process.send_signal(signal.SIGTERM)
            break
    assert end(process)[0] == 130
    process = launch(run, 0)
    until(process, lambda: len(lines(run / "metrics.jsonl")) > 8)
    for rank in ranks_of(process).values():
        os.kill(rank, signal.SIGTERM)
    process.communicate()
    assert lines(run / "messages.jsonl")[-1]["type"] == "stopped"
    train(run)
    events = [(e["type"], e["step"], e["worldSize"]) for e in lines(run / "events.jsonl") if "worldSize" in e]
    assert [world for _, _, world in events] == [1, 2, 1]
    # A signal costs no step.
    assert [line["step"] for line in lines(run / "metrics.jsonl")] == list(range(STEPS))
    assert largest_difference(metrics(run), metrics(whole)) < 1e-5


def limit_files(pid: int, count: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))


def test_a_checkpoint_that_storage_refuses_is_tried_again_and_the_last_one_is_an_error(whole):
    """A limit of the size of files is refused as a full disk is, by another number."""
    for beside in ("0", "1"):
        run = copy_job(whole, f"full-{beside}")
        process = start(run, CONTINUO_ASYNC_CHECKPOINTS=beside)
        for line in process.stdout:
            message = json.loads(line)
            if (message["type"], message["step"] if "step" in message else 0) == ("step", 2):
                limit_files(process.pid, 20_000)
            if (message["type"], message.get("step")) == ("step", 8):
                limit_files(process.pid, resource.RLIM_INFINITY)
            if (message["type"], message.get("step")) == ("checkpoint", 12):
                limit_files(process.pid, 20_000)
        code = process.wait()
        assert code == 4
        warned = [event["message"] for event in lines(run / "events.jsonl") if event["type"] == "warning"]
        assert len(warned) == 2
        assert "the checkpoint of step 6 was not written" in warned[0]
        assert "the system refuses a file of this size" in warned[0] and "A checkpoint takes about" in warned[0]
        assert sorted(folder.name for folder in (run / "checkpoints").iterdir()) == ["step-00000012"]
        assert len(metrics(run)) == STEPS
        train(run)
        assert largest_difference(metrics(run), metrics(whole)) == 0
