"""The PyTorch engine (worker/) against the native one: the same job, losses step by step; ranks, resuming, refusals.

Needs the built dist/ and the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from harness import ROOT, make_model

COMMON = dict(
    vocab_size=257,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=128,
    bos_token_id=0,
    eos_token_id=0,
    pad_token_id=None,
)
GPT2 = dict(vocab_size=257, n_embd=32, n_layer=2, n_head=4, n_positions=128, bos_token_id=0, eos_token_id=0)
FAMILIES = {
    "llama": hf.LlamaConfig(**COMMON, tie_word_embeddings=True),
    "qwen3": hf.Qwen3Config(**COMMON, head_dim=16),
    "gemma2": hf.Gemma2Config(
        **COMMON, head_dim=16, sliding_window=24, query_pre_attn_scalar=16, final_logit_softcapping=3.0
    ),
    "olmo2": hf.Olmo2Config(**COMMON),
    "phi3": hf.Phi3Config(**COMMON),
    "gpt2": hf.GPT2Config(**GPT2),
    "gpt-neox": hf.GPTNeoXConfig(**{k: v for k, v in COMMON.items() if k != "num_key_value_heads"}),
}
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "worker"), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def make_job(folder: Path, config, num_steps=20, precision="f32", **job) -> Path:
    """A run folder with a compiled job in it."""
    make_model(folder / "model", config)
    request = folder / "request.json"
    fields = dict(model=str(folder / "model"), folder=str(folder), numSteps=num_steps, precision=precision, job=job)
    request.write_text(json.dumps(fields))
    subprocess.run(["node", str(ROOT / "test/python/make-job.mjs"), str(request)], check=True, cwd=ROOT)
    return folder / "run"


def copy_job(run: Path, name: str) -> Path:
    other = run.with_name(name)
    shutil.copytree(run / "job", other / "job")
    return other


def start(run: Path, ranks: int = 0, *flags: str, worker=("-m", "continuo_worker"), **environment: str) -> subprocess.Popen:
    """ranks 0: a process by itself, without torchrun."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks else []
    command = [sys.executable, *launch, *worker, str(run / "job"), "--threads", "1", *flags]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return subprocess.Popen(command, env={**ENVIRONMENT, **environment}, text=True, **pipes)


def end(process: subprocess.Popen) -> tuple[int, list[dict], str]:
    """Its exit code, messages and stderr. stdin stays open: its end would be the parent's."""
    lines = process.stdout.read().splitlines()
    errors = process.stderr.read()
    return process.wait(), [json.loads(line) for line in lines], errors


def train(run: Path, ranks: int = 0) -> list[dict]:
    code, messages, errors = end(start(run, ranks))
    assert code == 0, (messages[-1:], errors)
    return messages


def train_native(run: Path) -> None:
    command = ["node", str(ROOT / "dist/engine/native-engine.js"), str(run / "job"), "--threads", "1"]
    # stdin as a pipe that stays open.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.wait() == 0


def metrics(run: Path) -> list[dict]:
    """Of repeated steps the later line."""
    by_step = {line["step"]: line for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())}
    return [by_step[step] for step in sorted(by_step)]


def evaluation(run: Path, step: int) -> dict:
    return json.loads((run / f"evals/step-{step:08d}.json").read_text())


def largest_difference(a: list[dict], b: list[dict], key: str = "loss") -> float:
    assert len(a) == len(b)
    return max(abs(x[key] - y[key]) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_job_gives_the_same_losses(family, tmp_path):
    """The bound is the one asked for; f32 sums in another order are all that differs."""
    steps = 100 if family == "llama" else 30
    native = make_job(tmp_path, FAMILIES[family], steps)
    run = copy_job(native, "torch")
    train_native(native)
    train(run)
    ours, theirs = metrics(run), metrics(native)
    assert largest_difference(ours, theirs) < 1e-4
    for x, y in zip(ours, theirs, strict=True):
        assert x.keys() >= y.keys()
        assert (x["tokens"], x["phase"], x["lr"]) == (y["tokens"], y["phase"], y["lr"])
        assert x["gradNorm"] == pytest.approx(y["gradNorm"], rel=1e-3)
        assert x["lossByCorpus"] == pytest.approx(y["lossByCorpus"], abs=1e-4)
    assert theirs[-1]["loss"] < theirs[0]["loss"]
    for step in (0, steps // 2, steps):
        a, b = evaluation(run, step), evaluation(native, step)
        for name, score in b["sets"].items():
            assert a["sets"][name].pop("role") == score.pop("role")
            assert a["sets"][name] == pytest.approx(score, abs=1e-4, rel=1e-4)
        documents = [json.loads((r / f"evals/documents-step-{step:08d}.json").read_text()) for r in (run, native)]
        for name, of_set in documents[1]["sets"].items():
            assert documents[0]["sets"][name]["bytes"] == of_set["bytes"]
            assert documents[0]["sets"][name]["nats"] == pytest.approx(of_set["nats"], abs=1e-2, rel=1e-4)


def test_a_checkpoint_is_a_model_folder_for_all(tmp_path):
    run = make_job(tmp_path, FAMILIES["llama"], 20, ema=0.9, recordAtEnd={"pretraining": {"finalLr": 1e-4}})
    messages = train(run)
    folder = run / "checkpoints/step-00000020"
    assert messages[-1] == {"type": "finished", "step": 20, "folder": str(folder)}
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["step-00000010", "step-00000020"]
    config = json.loads((folder / "config.json").read_text())
    assert config["continuo"] | {"lr": 0} == {
        "recipe": "test",
        "pretraining": {"finalLr": 1e-4},
        "lr": 0,
        "step": 20,
        "tokens": 20 * 256,
    }
    hf.AutoModelForCausalLM.from_pretrained(folder)
    data = tmp_path / "domain.jsonl"
    command = ["node", str(ROOT / "dist/cli/main.js"), "eval", "--data", str(data), "--json"]
    scores = [
        json.loads(subprocess.run([*command, str(f)], check=True, capture_output=True, text=True).stdout)
        for f in (folder, folder / "ema")
    ]
    assert scores[0] != scores[1]
    assert "ema" in evaluation(run, 20)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One job, trained by one process without a break."""
    run = make_job(tmp_path_factory.mktemp("whole"), FAMILIES["llama"], 30, ema=0.95)
    train(run)
    return run


def test_two_ranks_train_as_one(whole):
    run = copy_job(whole, "two")
    train(run, ranks=2)
    assert largest_difference(metrics(run), metrics(whole)) < 1e-5
    assert all(0 <= line["dataMs"] < line["stepMs"] for line in metrics(run))
    for kind in ("sets", "ema"):
        a, b = (evaluation(r, 30)[kind]["domain"]["bitsPerByte"] for r in (run, whole))
        assert abs(a - b) < 1e-5


def stop_after(run: Path, step: int, number: signal.Signals) -> int:
    process = start(run)
    for line in process.stdout:
        message = json.loads(line)
        if message["type"] == "step" and message["step"] == step:
            process.send_signal(number)
            break
    return end(process)[0]


def test_a_run_that_is_killed_or_stopped_goes_on_as_if_nothing_had_been(whole):
    run = copy_job(whole, "killed")
    assert stop_after(run, 13, signal.SIGKILL) == -signal.SIGKILL
    assert stop_after(run, 17, signal.SIGTERM) == 130
    messages = train(run)
    # SIGTERM leaves a checkpoint of its own.
    assert next(m for m in messages if m["type"] == "resume")["step"] >= 18
    assert largest_difference(metrics(run), metrics(whole)) == 0
    names = ("model.safetensors", "ema/model.safetensors")
    for name in names:
        a, b = ((r / "checkpoints/step-00000030" / name).read_bytes() for r in (run, whole))
        assert a == b


def test_another_number_of_ranks_goes_on(whole):
    run = copy_job(whole, "fewer")
    process = start(run, ranks=2)
    for line in process.stdout:
        message = json.loads(line)
        if message["type"] == "checkpoint" and message["step"] == 20:
            break
    process.kill()
    end(process)
    messages = train(run)
    assert next(m for m in messages if m["type"] == "resume")["step"] in (20, 30)
    assert largest_difference(metrics(run), metrics(whole)) < 1e-5


def test_bf16_learns_as_f32_does(whole, tmp_path):
    run = make_job(tmp_path, FAMILIES["llama"], 30, precision="bf16")
    # Stopped while it is measured: whatever of the weights stands gathered then, the checkpoint that follows is of the weights.
    process = start(run)
    for line in process.stdout:
        message = json.loads(line)
        if message["type"] == "evalProgress" and message["step"] == 15:
            process.send_signal(signal.SIGTERM)
            break
    code, messages, errors = end(process)
    assert code == 130, errors
    assert messages[-1] == {"type": "stopped", "step": 15}
    train(run)
    # A mantissa of 8 bits: half a percent of the loss.
    assert largest_difference(metrics(run), metrics(whole)) < 0.03
    weights = hf.AutoModelForCausalLM.from_pretrained(run / "checkpoints/step-00000030", dtype="auto")
    assert weights.dtype == torch.bfloat16


@pytest.mark.parametrize("gpus", [1, 2])
def test_the_main_job_runs_on_it(whole, tmp_path, gpus):
    config = {
        "name": "tiny",
        "model": str(whole.parent / "model"),
        "corpora": {
            name: {"path": str(whole.parent / f"{name}.jsonl"), "role": name} for name in ("domain", "general")
        },
        "budget": {"steps": 6},
        "training": {"seqLen": 64, "batchTokens": 256, "precision": "f32"},
        "engine": {"torch": {"gpus": gpus}},
        "output": str(tmp_path),
    }
    (tmp_path / "continuo.yaml").write_text(json.dumps(config))
    environment = {**os.environ, "CONTINUO_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    command = [
        "node",
        str(ROOT / "dist/cli/main.js"),
        "run",
        str(tmp_path / "continuo.yaml"),
        "--json",
        "--threads",
        "1",
    ]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    assert (summary["status"], summary["numSteps"]) == ("finished", 6)
    assert summary["domain"]["last"] < summary["domain"]["first"]


def refused(run: Path, ranks: int = 0) -> dict:
    _, messages, errors = end(start(run, ranks))
    fatal = [m for m in messages if m["type"] == "fatal"]
    assert fatal, (messages, errors)
    return fatal[0]


def test_what_cannot_be_trained_is_refused_in_words(whole, tmp_path):
    edited = copy_job(whole, "edited")
    file = edited / "job/job.json"
    file.write_text(file.read_text().replace('"seed": 7', '"seed": 8'))
    assert "was edited or is damaged (fingerprint" in refused(edited)["message"]
    damaged = copy_job(whole, "damaged")
    order = damaged / "job/order-00000.bin"
    order.write_bytes(order.read_bytes()[:-1] + b"\x07")
    assert "order-00000.bin: was edited or is damaged (SHA-256" in refused(damaged)["message"]
    assert "cannot be divided among 3 ranks" in refused(copy_job(whole, "three"), ranks=3)["message"]
    drawn = make_job(tmp_path, FAMILIES["llama"], 4, guard=dict(l2=dict(toward="init", strength=1)))
    assert refused(drawn) == {
        "type": "fatal",
        "kind": "ConfigError",
        "message": "the engine torch does not do this yet: guard.l2.toward: init. Take engine: native.",
    }
    diverged = make_job(tmp_path / "diverged", FAMILIES["llama"], 6, schedule=[1e18] * 6)
    assert "is not a number" in refused(diverged)["message"]
    assert not list((diverged / "checkpoints").glob("step-*")) if (diverged / "checkpoints").exists() else True
