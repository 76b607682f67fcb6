"""What holds a model to what it was, on the PyTorch engine (worker/) as on the native one: adapters, freezing, penalties, distillation,
choice of tokens.

Needs the built dist/ and the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

import json
import subprocess
import sys
from pathlib import Path

import peft
import pytest
import torch
import transformers as hf
from harness import ROOT, make_model
from safetensors.torch import load_file, save_file
from test_torch_engine import ENVIRONMENT, FAMILIES, copy_job, evaluation, largest_difference, make_job, metrics, train_native

sys.path.insert(0, str(ROOT / "worker"))
from continuo_worker.errors import ConfigError  # noqa: E402
from continuo_worker.job import Job  # noqa: E402
from continuo_worker.selection import check_passes  # noqa: E402
from continuo_worker.sequence_cache import SequenceCache  # noqa: E402

STEPS = 20
# As without guards. What was measured is a thousand times less: sums of f32 in another order, and no step whose gradients are all rounding.
TOLERANCE = 1e-4
# Imports of torch and transformers cost more than these jobs: a process trains several.
TRAIN = """
import sys
from pathlib import Path
from continuo_worker.engine import Training
from continuo_worker.ranks import Ranks
ranks = Ranks(print)
for folder in sys.argv[1:]:
    assert Training(Path(folder), ranks, recompute="none", attended=False, unattended=False).run() == 0
"""


def train_all(folder: Path, runs: list[Path], ranks: int = 0) -> None:
    """ranks 0: a process by itself, without torchrun."""
    script = folder / "train.py"
    script.write_text(f"import torch; torch.set_num_threads(1){TRAIN}")
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"] if ranks else []
    command = [sys.executable, *launch, str(script), *(str(run / "job") for run in runs)]
    # stdin as a pipe that stays open.
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, env=ENVIRONMENT, **pipes) as process:
        errors = process.stderr.read()
        assert process.wait() == 0, errors


def lora(**more) -> dict:
    return {"rank": 4, "alpha": 8, "rsLora": False, "embeddings": False, "lrFactor": 3, **more}


FROZEN = ["model.embed_tokens", "model.layers.{0..0}", "*.k_proj.weight", "!model.layers.0.mlp"]
JOBS = {
    # A tied table, trained whole.
    "lora": ("llama", dict(lora=lora(embeddings=True, targets=["q_proj", "v_proj", "up_proj"]))),
    # Matrices stored transposed, with biases.
    "dora": ("gpt2", dict(lora=lora(dora=True))),
    # Frozen weights in 16 bits, magnitudes in 32.
    "dora, bf16": ("gpt2", dict(lora=lora(dora=True), precision="bf16")),
    # Stored head by head.
    "rslora": ("gpt-neox", dict(lora=lora(rsLora=True, rank=9))),
    # Begins with another run's adapter.
    "gone on with": ("qwen3", dict(lora=lora(dora=True, embeddings=True, **{"from": ""}), ema=0.9)),
    # What is frozen has no penalty.
    "ewc": ("llama", dict(guard={"ewc": {"strength": 3, "fisher": ""}}, freeze=FROZEN)),
    "l2": ("gpt2", dict(guard={"l2": {"toward": "base", "strength": 3}})),
    "distill": ("llama", dict(guard={"distill": {"corpora": ["general"], "weight": 2, "temperature": 2}})),
    # The model without its adapters is the teacher; both have logits with a soft cap.
    "distill, lora": ("gemma2", dict(lora=lora(), guard={"distill": {"corpora": ["domain", "general"], "weight": 1, "temperature": 1}})),
    "distill, topK": ("gemma2", dict(freeze=["model.layers.0"], guard={"distill": {"corpora": ["domain"], "weight": 2, "temperature": 1.5}})),
    # The reference is of another family.
    "select": ("llama", dict(selectTokens={"keep": 0.6})),
}
ON_TWO_RANKS = ["gone on with", "ewc", "distill", "distill, lora", "select"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, dict[str, Path]]:
    """By job: `native`, `torch`, and of some `two`, trained by two ranks."""
    folder = tmp_path_factory.mktemp("guards")
    source = make_job(folder / "source", FAMILIES["qwen3"], 4, lora=lora(dora=True, embeddings=True))
    train_native(source)
    JOBS["gone on with"][1]["lora"]["from"] = str(source / "checkpoints/step-00000004/adapter")
    make_model(folder / "llama", FAMILIES["llama"])
    JOBS["ewc"][1]["guard"]["ewc"]["fisher"] = fisher_of(folder / "llama", folder / "fisher.safetensors")
    JOBS["distill, topK"][1]["guard"]["distill"]["top"] = {"k": 8, "cache": str(folder / "said")}
    make_model(folder / "reference", FAMILIES["gpt2"])
    JOBS["select"][1]["selectTokens"] |= {"model": str(folder / "reference"), "cache": str(folder / "scored")}
    found = {name: {"native": make_job(folder / name, FAMILIES[f], STEPS, **job)} for name, (f, job) in JOBS.items()}
    for name, by_engine in found.items():
        by_engine["torch"] = copy_job(by_engine["native"], "torch")
        if name in ON_TWO_RANKS:
            by_engine["two"] = copy_job(by_engine["native"], "two")
        train_native(by_engine["native"])
    train_all(folder, [run["torch"] for run in found.values()])
    train_all(folder, [found[name]["two"] for name in ON_TWO_RANKS], ranks=2)
    return found


def fisher_of(model: Path, file: Path) -> str:
    """Numbers in its place: what they are is nothing to the engines."""
    generator = torch.Generator().manual_seed(5)
    tensors = load_file(model / "model.safetensors")
    save_file({n: torch.rand(t.shape, generator=generator).bfloat16() for n, t in tensors.items()}, file)
    return str(file)


def last(run: Path) -> Path:
    return run / f"checkpoints/step-{STEPS:08d}"


@pytest.mark.parametrize("name", JOBS)
def test_the_same_job_gives_the_same_losses(name, runs):
    run, native = runs[name]["torch"], runs[name]["native"]
    ours, theirs = metrics(run), metrics(native)
    print(f"{name}: largest difference of loss {largest_difference(ours, theirs):.1e}")
    # Activations of 8 bits, rounded in other places: a loss is right to some thousandth.
    is_bf16 = name.endswith("bf16")
    assert largest_difference(ours, theirs) < (5e-3 if is_bf16 else TOLERANCE)
    assert theirs[-1]["loss"] < theirs[0]["loss"] - 0.02
    for x, y in zip(ours, theirs, strict=True):
        assert x.keys() >= y.keys()
        assert x["gradNorm"] == pytest.approx(y["gradNorm"], rel=3e-2 if is_bf16 else 1e-3)
    for kind in {"sets", "ema"} & evaluation(native, STEPS).keys():
        scores = [evaluation(r, STEPS)[kind]["domain"]["bitsPerByte"] for r in (run, native)]
        assert scores[0] == pytest.approx(scores[1], abs=5e-3 if is_bf16 else 1e-4)


@pytest.mark.parametrize("name", ["lora", "dora", "rslora", "gone on with"])
def test_adapters_are_pefts(name, runs):
    run, native = last(runs[name]["torch"]), last(runs[name]["native"])
    configs = [json.loads((r / "adapter/adapter_config.json").read_text()) for r in (run, native)]
    assert configs[0] == configs[1]
    tensors = [load_file(r / "adapter/adapter_model.safetensors") for r in (run, native)]
    assert tensors[0].keys() == tensors[1].keys()
    for key, value in tensors[0].items():
        # A weight whose gradient is nearly nothing may go either way, by up to a step's LR.
        assert torch.allclose(value, tensors[1][key], atol=1e-3), key
    base = hf.AutoModelForCausalLM.from_pretrained(configs[0]["base_model_name_or_path"])
    adapted = peft.PeftModel.from_pretrained(base, run / "adapter").eval()
    merged = hf.AutoModelForCausalLM.from_pretrained(run).eval()
    inputs = torch.arange(2, 34).unsqueeze(0)
    assert torch.allclose(adapted(inputs).logits, merged(inputs).logits, atol=1e-4)


@pytest.mark.parametrize("name", ["ewc", "l2"])
def test_penalties(name, runs):
    ours, theirs = ([line["penalty"] for line in metrics(runs[name][engine])] for engine in ("torch", "native"))
    assert theirs[0] == 0 and theirs[-1] > 0.01
    # Sums of squares of small differences.
    assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("name", ["distill", "distill, lora", "distill, topK"])
def test_distillation(name, runs):
    ours, theirs = metrics(runs[name]["torch"]), metrics(runs[name]["native"])
    # The model is its teacher at first; of topK the probabilities were rounded to 8 bits.
    assert theirs[0]["distillKl"] < (1e-6 if name == "distill, topK" else 1e-9) and theirs[-1]["distillKl"] > 1e-3
    # No value in a step without such text.
    assert [x.get("distillKl") for x in ours] == pytest.approx([y.get("distillKl") for y in theirs], abs=1e-5)


def test_what_a_teacher_said_is_kept(runs, tmp_path):
    """In the native engine's format; a damaged record is none."""
    files = sorted((runs["distill, topK"]["torch"].parent.parent / "said/torch").iterdir())
    # One of each sequence length: 8 ids of 2 bytes and 9 probabilities a token.
    assert {int(file.name.partition("-")[0]) for file in files} == {32 * 34, 64 * 34}
    assert len(files) == 2
    size = int(files[0].name.partition("-")[0])
    content = bytearray(files[0].read_bytes())
    content[-1] ^= 1
    (tmp_path / files[0].name).write_bytes(content)
    cache = SequenceCache(tmp_path, size)
    found = [cache.read(bytes(content[at : at + 16])) for at in range(0, len(content), 24 + size)]
    assert len(found) > 1 and found[-1] is None and None not in found[:-1]


def test_choice_of_tokens(runs):
    ours, theirs = (metrics(runs["select"][engine]) for engine in ("torch", "native"))
    for key in ("selected", "excessByCorpus"):
        for x, y in zip(ours, theirs, strict=True):
            assert x[key] == pytest.approx(y[key], abs=TOLERANCE)
    assert theirs[0]["selected"]["excess"] > 0
    # Passes of two sequences, then of four: a quarter of a step's four is none.
    with pytest.raises(ConfigError, match="into which a rank's 1 cannot be cut"):
        check_passes(Job(runs["select"]["torch"] / "job"), 4)


def test_what_is_frozen_stays(runs):
    run = runs["ewc"]["torch"]
    before, after = load_file(run.parent / "model/model.safetensors"), load_file(last(run) / "model.safetensors")
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert moved >= {"model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.q_proj.weight", "model.norm.weight"}
    assert not moved & {"model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight"}
    assert not any("k_proj" in name for name in moved)


@pytest.mark.parametrize("name", ON_TWO_RANKS)
def test_two_ranks_train_as_one(name, runs):
    run, two = metrics(runs[name]["torch"]), metrics(runs[name]["two"])
    for key in ("loss", "penalty", "distillKl"):
        assert [x.get(key) for x in two] == pytest.approx([y.get(key) for y in run], abs=1e-5)
    for x, y in zip(two, run, strict=True):
        assert x.get("selected", {}) == pytest.approx(y.get("selected", {}), abs=1e-5)


def test_one_rank_goes_on_for_two(runs, tmp_path):
    names = ["gone on with", "ewc"]
    for name in names:
        two = runs[name]["two"]
        # As if it had been killed before the last checkpoint.
        for file in (last(two), two / f"evals/step-{STEPS:08d}.json"):
            file.rename(file.with_name("gone"))
    train_all(tmp_path, [runs[name]["two"] for name in names])
    for name in names:
        run, two = runs[name]["torch"], runs[name]["two"]
        assert len((two / "metrics.jsonl").read_text().splitlines()) == STEPS + STEPS // 2
        assert largest_difference(metrics(two), metrics(run)) < 1e-5
        for kind in {"sets", "ema"} & evaluation(run, STEPS).keys():
            a, b = (evaluation(r, STEPS)[kind]["domain"]["bitsPerByte"] for r in (two, run))
            assert abs(a - b) < 1e-5
