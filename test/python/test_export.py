"""An exported run trained by TRL itself, against the native engine on the same configuration: the loss and LR of every step.

Needs the built dist/ and the packages of requirements.txt.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_from_disk
from harness import ROOT, make_model
from test_torch_engine import FAMILIES

CLI = ["node", str(ROOT / "dist/cli/main.js")]
NUM_STEPS = 8


def write_text(file: Path, first: int) -> None:
    """Documents of words that recur, so that there is something to learn."""
    lines = (" ".join(f"w{(first + i * j) % 23}" for j in range(20 + i % 30)) for i in range(1, 120))
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))


def write_conversations(file: Path) -> None:
    pairs = ({"question": f"{i} and {i}?", "answer": f"{2 * i}, since {i} and {i} is that."} for i in range(200))
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Trained natively: two phases that cut a step differently, the second with loss on answers alone."""
    folder = tmp_path_factory.mktemp("export")
    make_model(folder / "model", FAMILIES["llama"])
    write_text(folder / "domain.jsonl", 3)
    write_text(folder / "general.jsonl", 7)
    write_conversations(folder / "chat.jsonl")
    roles = {"domain": "domain", "general": "general", "chat": "instruction"}
    config = {
        "name": "tiny",
        "model": str(folder / "model"),
        "corpora": {name: {"path": str(folder / f"{name}.jsonl"), "role": role} for name, role in roles.items()},
        "recipe": {
            "phases": [
                {"name": "first", "blend": {"domain": 1, "general": 1}, "seqLen": 32},
                {
                    "name": "second",
                    "blend": {"domain": 1, "chat": 3},
                    "seqLen": 64,
                    "objective": "answers",
                    "begins": {"tokens": 0.5},
                },
            ],
            "schedule": "cosine",
            "peakLr": 3e-3,
            "warmup": 0.25,
        },
        "budget": {"steps": NUM_STEPS},
        "training": {"seqLen": 32, "batchTokens": 256, "microBatch": 4, "precision": "f32", "embeddingLr": 1e-3},
        "engine": "native",
        "output": str(folder / "runs"),
    }
    (folder / "continuo.yaml").write_text(json.dumps(config))
    subprocess.run([*CLI, "run", "continuo.yaml", "--quiet"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return folder


def export(run: Path, framework: str) -> Path:
    command = [*CLI, "export", "continuo.yaml", "--for", framework, "--out", framework, "--json"]
    result = json.loads(subprocess.run(command, cwd=run, check=True, capture_output=True, text=True).stdout)
    assert [result["framework"], result["folder"]] == [framework, str(run / framework)]
    return run / framework


def train(folder: Path, *launcher: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, *launcher, "train.py"], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]


def losses(folder: Path) -> list[dict]:
    state = json.loads((folder / f"checkpoints/checkpoint-{NUM_STEPS}/trainer_state.json").read_text())
    return [entry for entry in state["log_history"] if "loss" in entry]


def test_trl_trains_as_the_native_engine_does(run):
    folder = export(run, "trl")
    ours = [json.loads(line) for line in (run / "runs/tiny/metrics.jsonl").read_text().splitlines()]
    train(folder)
    theirs = losses(folder)
    assert len(ours) == len(theirs) == NUM_STEPS
    for mine, other in zip(ours, theirs):
        assert other["learning_rate"] == pytest.approx(mine["lr"], rel=1e-12)
        # Sums in f32 in another order.
        assert other["loss"] == pytest.approx(mine["loss"], abs=1e-5)
    assert ours[0]["loss"] - ours[-1]["loss"] > 0.1
    assert (folder / "model/model.safetensors").exists()
    # From an earlier checkpoint two processes go on, over gloo: each step's rows are divided between them.
    shutil.rmtree(folder / f"checkpoints/checkpoint-{NUM_STEPS}")
    train(folder, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    again = losses(folder)
    assert len(again) == NUM_STEPS
    assert [entry["loss"] for entry in again] == pytest.approx([step["loss"] for step in ours], abs=1e-5)


def test_flat_rows_are_read_as_they_were_written(run):
    rows = load_from_disk(str(export(run, "llama-factory") / "data"))
    assert rows.column_names == ["input_ids", "attention_mask", "position_ids", "labels"]
    # Of 64 tokens, and 8 places for the last label.
    assert len(rows) == NUM_STEPS * 4 and {len(row) for row in rows["input_ids"]} == {72}
    for row in rows.select([0, len(rows) - 1]):
        for i, position in enumerate(row["position_ids"]):
            assert position == 0 or position == row["position_ids"][i - 1] + 1
            if position:
                assert row["attention_mask"][i] == row["attention_mask"][i - 1]
    assert any(label == -100 for label in rows[-1]["labels"][1:60])
