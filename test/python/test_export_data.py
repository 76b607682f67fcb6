"""What `continuo export` gives Megatron-LM and NeMo Automodel to read: all of the job's sequences in its order, from a copy of the folder alone.

The frameworks themselves are not in requirements.txt; docs/exporting.md says what was checked with them.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import transformers as hf
from harness import ROOT, make_model

TINY = dict(vocab_size=257, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    make_model(folder / "model", hf.LlamaConfig(**TINY, max_position_embeddings=128, tie_word_embeddings=True))
    return folder


def exported(folder: Path, framework: str, phases: list | None) -> SimpleNamespace:
    """The modules of an exported folder that was copied elsewhere, whose corpora then went away; and the job as it was compiled."""
    job = {"phases": phases} if phases else {}
    request = dict(model=str(folder / "model"), folder=str(folder / framework), numSteps=6, precision="f32", job=job)
    (folder / "request.json").write_text(json.dumps(request))
    node = lambda script, *args: subprocess.run(["node", str(ROOT / "test/python" / script), *map(str, args)], check=True, cwd=ROOT)
    node("make-job.mjs", folder / "request.json")
    node("export.mjs", folder / framework / "run", framework, folder / f"for-{framework}")
    copy = folder / f"copy-{framework}"
    shutil.copytree(folder / f"for-{framework}", copy)
    (folder / framework / "cache").rename(folder / f"gone-{framework}")
    for name in [name for name in sys.modules if name.split(".")[0] == "continuo_run"]:
        del sys.modules[name]
    sys.path.insert(0, str(copy))
    try:
        from continuo_run import data
        from continuo_run.job import Job
    finally:
        sys.path.remove(str(copy))
    return SimpleNamespace(folder=copy, data=data, job=Job(copy / "job", shards=copy / "shards"))


def expected(job) -> list:
    counts = [job.batch_at(step).sequences_per_step for step in range(job.num_steps)]
    return [sequence for step, count in enumerate(counts) for sequence in job.sequences(step, range(count))]


def test_megatron(run: Path) -> None:
    """Two cuts of a step: make-job.mjs's own phases."""
    world = exported(run, "megatron", None)
    job, data = world.job, world.data
    wanted = expected(job)
    assert len({len(s.inputs) for s in wanted}) == 2
    first_stage = data.make_builder(job, 3)(None, [], lambda: True, SimpleNamespace(sequence_length=64)).build()
    assert len(first_stage[0]) == 3 * 4 and first_stage[1:] == [None, None]
    with pytest.raises(ValueError, match="this stage has sequences of 32"):
        data.make_builder(job, 6)(None, [], lambda: True, SimpleNamespace(sequence_length=64))
    samples = data.JobDataset(job, 6)
    assert len(samples) == len(wanted)
    for i, sequence in enumerate(wanted):
        sample = samples[i]
        bears_loss = sequence.targets >= 0
        assert (sample["tokens"].numpy() == sequence.inputs).all()
        assert (sample["labels"].numpy()[bears_loss] == sequence.targets[bears_loss]).all()
        assert (sample["loss_mask"].numpy() == bears_loss).all()
        borders = sample["cu_seqlens"].numpy()
        starts = borders[borders < len(sequence.inputs)]
        assert (starts == np.flatnonzero(sequence.positions == 0)).all()
        assert sample["max_seqlen"] == np.diff([*starts, len(sequence.inputs)]).max()
    get_lr = data.make_get_lr(job)
    consumed = 0
    for step in range(job.num_steps):
        group = {"max_lr": 0.5}
        assert get_lr(SimpleNamespace(num_steps=consumed, max_lr=2.0), group) == job.lr_at(step) * 0.25
        consumed += job.batch_at(step).sequences_per_step


def test_nemo(run: Path) -> None:
    phases = [
        {"name": "first", "firstStep": 0, "numSteps": 4, "blend": {"domain": 0.5, "general": 0.5}},
        {"name": "second", "firstStep": 4, "numSteps": 2, "blend": {"domain": 0.8, "general": 0.2}},
    ]
    world = exported(run, "nemo", phases)
    samples = world.data.JobDataset(job=str(world.folder / "job"), shards=str(world.folder / "shards"))
    wanted = expected(world.job)
    assert len(samples) == len(wanted)
    for i, sequence in enumerate(wanted):
        sample = {name: tensor.numpy() for name, tensor in samples[i].items()}
        assert (sample["input_ids"] == sequence.inputs).all() and (sample["position_ids"] == sequence.positions).all()
        assert (sample["labels"] == np.where(sequence.targets < 0, -100, sequence.targets)).all()
        documents = sample["attention_mask"]
        assert documents[0] == 1 and ((np.diff(documents) == 1) == (sequence.positions[1:] == 0)).all()
    get_lr = world.data.make_get_lr(world.job)
    assert [get_lr(SimpleNamespace(num_steps=i), {}) for i in range(7)] == [world.job.lr_at(min(i, 5)) for i in range(7)]
