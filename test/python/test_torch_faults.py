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
    process = launch(run, 2, CONTINUO_RANK_TIMEOUT="12", CONTINUO_ASYNC_CHECKPOINTS="1")
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
    # What was being written is lost, unless it was done already.
    assert len(resumed) == 2 and resumed[0] == 6 and resumed[1] in (6, 12, 18)
    said = [event["message"] for event in events if event["type"] == "error"]
    assert len(said) == 2
    assert "rank 1 (" in said[0] and "is gone (killed" in said[0]
    assert "rank 0 (" in said[1] and "does not run any more" in said[1] and "The limit is 12 s" in said[1]
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


def test_more_ranks_go_on_and_stop_on_a_signal(whole):
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
    stopped = lines(run / "messages.jsonl")[-1]
    assert stopped["type"] == "stopped" and 8 < stopped["step"] < STEPS
    assert (run / f"checkpoints/step-{stopped['step']:08d}/trainer/state.json").exists()
    assert [event["worldSize"] for event in lines(run / "events.jsonl") if "worldSize" in event] == [1, 2]
    # A signal costs no step.
    written = lines(run / "metrics.jsonl")
    assert [line["step"] for line in written] == list(range(stopped["step"]))
    assert largest_difference(written, metrics(whole)[: stopped["step"]]) < 1e-5


def limit_files(process: subprocess.Popen, count: int) -> None:
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (count, resource.RLIM_INFINITY))


def test_a_checkpoint_that_storage_refuses_is_tried_again_and_the_last_one_is_an_error(whole):
    """A limit of files' size is refused as a full disk is, by another number. All but the last one are written beside the training."""
    run = copy_job(whole, "full")
    process = start(run, 0, "--attended", CONTINUO_ASYNC_CHECKPOINTS="1")
    messages = []
    for line in process.stdout:
        message = json.loads(line)
        messages.append(message)
        kind, step = message["type"], message.get("step")
        if (kind, step) in {("step", 2), ("checkpoint", 12)}:
            limit_files(process, 20_000)
        if (kind, step) == ("step", 8):
            limit_files(process, resource.RLIM_INFINITY)
        if kind in ("step", "eval"):
            process.stdin.write("continue\n")
            process.stdin.flush()
    assert process.wait() == 4
    warned = [event["message"] for event in lines(run / "events.jsonl") if event["type"] == "warning"]
    assert len(warned) == 2
    assert warned[0].startswith("the checkpoint of step 6 was not written: ")
    for message in (warned[0], messages[-1]["message"]):
        assert "the system refuses a file of this size" in message and "A checkpoint takes about" in message
    assert (messages[-1]["type"], messages[-1]["kind"]) == ("fatal", "EngineError")
    assert [folder.name for folder in (run / "checkpoints").iterdir()] == ["step-00000012"]
    assert len(metrics(run)) == STEPS
    train(run)
    assert largest_difference(metrics(run), metrics(whole)) == 0


# Stands for what only some ranks meet.
FAULTY = """
import os, torch
from continuo_worker import engine
from continuo_worker.__main__ import main
def fails(self):
    if self.ranks.rank == self.ranks.world - 1 and self.progress.step == 2:
        raise eval(os.environ["FAULT"])
    return step(self)
step, engine.Training.step = engine.Training.step, fails
raise SystemExit(main())
"""


def test_what_one_rank_meets_is_said_once(whole, tmp_path):
    file = tmp_path / "faulty.py"
    file.write_text(FAULTY)
    run = copy_job(whole, "memory")
    fault = 'torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 4 GiB")'
    _, messages, errors = end(start(run, 2, worker=[str(file)], FAULT=fault))
    assert [m["message"] for m in messages if m["type"] == "fatal"] == [
        "main memory ran out on rank 1 of 2: 2.50 GiB more were asked for. The run has training.microBatch 2, seqLen 64, recompute: "
        "none. Set training.recompute: selective, or full, and go on, or set training.microBatch to 1, or lower training.seqLen below 64, or take "
        "more GPUs, among which the weights are divided."
    ]
    assert "OutOfMemoryError" not in errors and "error: " not in errors
    run = copy_job(whole, "crash")
    code, messages, errors = end(start(run, worker=[str(file)], FAULT='KeyError("lost")'))
    assert (code, messages[-1]["type"]) == (1, "step")
    [trace] = (run / "crashes").iterdir()
    assert errors.splitlines()[-1] == f"error: KeyError: 'lost' (the full trace: {trace})"
    assert "Traceback" not in errors and "Traceback" in trace.read_text()
    assert lines(run / "events.jsonl")[-1]["type"] == "error"
