"""Checkpoints of a run: a Hugging Face folder that any tool loads, plus trainer/ with what resuming needs, in PyTorch's distributed format,
which another number of ranks reads as well. A folder is complete or absent (atomic rename)."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.tensor import DTensor
from transformers.pytorch_utils import Conv1D

from .adapters import adapted, is_of_adapter, merged, write_peft
from .errors import ConfigError, DataError
from .job import Job
from .model import TrainedModel, source_config
from .ranks import Ranks

NAME = re.compile(r"step-(\d{8,})")
KEEP = Path("trainer", "keep")
# What is not the model's weights: tokenizer, chat template, generation settings.
SIDE_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
)


@dataclass
class Progress:
    """Steps completed, and tokens trained in them."""

    step: int
    tokens: int


def name_of(step: int) -> str:
    return f"step-{step:08d}"


def list_checkpoints(run_folder: Path) -> list[tuple[int, Path]]:
    """Complete ones, oldest first."""
    found = [(NAME.fullmatch(folder.name), folder) for folder in (run_folder / "checkpoints").glob("step-*")]
    return sorted((int(m[1]), folder) for m, folder in found if m and (folder / "config.json").exists())


def keep_checkpoint(run_folder: Path, step: int) -> None:
    """Marks a checkpoint as one that is never removed."""
    for found, folder in list_checkpoints(run_folder):
        if found == step:
            (folder / KEEP).touch()


def remove_leftovers(run_folder: Path) -> None:
    for folder in (run_folder / "checkpoints").glob("*.tmp"):
        shutil.rmtree(folder, ignore_errors=True)


class Average:
    """Exponential moving average of the weights, on each rank of its own part."""

    def __init__(self, model: TrainedModel, decay: float) -> None:
        self.decay = decay
        self.model = model
        self.values = {name: local(p).detach().clone() for name, p in self.model.trained().items()}

    @torch.no_grad()
    def update(self) -> None:
        for name, parameter in self.model.trained().items():
            self.values[name].lerp_(local(parameter), 1 - self.decay)

    @torch.no_grad()
    def exchange(self) -> None:
        """Average and weights change places."""
        for name, parameter in self.model.trained().items():
            weights = local(parameter)
            before = weights.clone()
            weights.copy_(self.values[name])
            self.values[name].copy_(before)

    def state(self) -> dict[str, torch.Tensor]:
        """Laid out as the weights, so that another number of ranks can read it."""
        placed = self.model.trained()
        return {name: _like(value, placed[name]) for name, value in self.values.items()}


def local(parameter: torch.Tensor) -> torch.Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def _like(value: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    if not isinstance(parameter, DTensor):
        return value
    return DTensor.from_local(
        value, parameter.device_mesh, parameter.placements, shape=parameter.shape, stride=parameter.stride()
    )


def _trainer_state(model: TrainedModel, optimizer: torch.optim.Optimizer, average: Average | None) -> dict[str, Any]:
    """What is frozen follows from the job. Loading goes into these tensors themselves, but for the optimizer's."""
    weights = {name: parameter.detach() for name, parameter in model.trained().items()}
    moments = get_optimizer_state_dict(model, optimizer)
    return {"model": weights, "optimizer": moments, **({"ema": average.state()} if average else {})}


def save_checkpoint(
    job: Job,
    run_folder: Path,
    ranks: Ranks,
    model: TrainedModel,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    progress: Progress,
    kept: Callable[[], set[int]],
) -> Path:
    """`kept`: steps whose checkpoints are not removed. Collective: all ranks call it."""
    folder = run_folder / "checkpoints" / name_of(progress.step)
    temporary = folder.with_name(f"{folder.name}.tmp")
    if ranks.is_first:
        shutil.rmtree(temporary, ignore_errors=True)
        (temporary / "trainer").mkdir(parents=True)
    ranks.wait()
    _write_model(job, ranks, model, temporary, progress, {})
    if "lora" in job.data:
        _write_adapters(job, ranks, model, temporary / "adapter")
    if average and progress.step == job.num_steps:
        average.exchange()
        _write_model(job, ranks, model, temporary / "ema", progress, {"ema": average.decay})
        average.exchange()
    dcp.save(_trainer_state(model, optimizer, average), checkpoint_id=str(temporary / "trainer" / "distributed"))
    if ranks.is_first:
        state = {
            "formatVersion": 1,
            "engine": "torch",
            "step": progress.step,
            "tokens": progress.tokens,
            "jobFingerprint": job.fingerprint_at(progress.step),
            "precision": job.data["precision"],
            "worldSize": ranks.world,
        }
        (temporary / "trainer" / "state.json").write_text(json.dumps(state, indent=2) + "\n")
        _sync(temporary)
        temporary.rename(folder)
        _sync_folder(folder.parent)
        _prune(job, run_folder, progress.step, kept())
    ranks.wait()
    return folder


def _write_model(
    job: Job, ranks: Ranks, model: TrainedModel, folder: Path, progress: Progress, extra: dict[str, Any]
) -> None:
    dtype = torch.bfloat16 if job.data["precision"] == "bf16" else torch.float32
    state: dict[str, torch.Tensor] = {}
    adapters = adapted(model.model)
    for name, value in model.model.state_dict().items():
        if is_of_adapter(name):
            continue
        weight = _whole(value)
        module = name.removesuffix(".weight")
        if module in adapters:
            linear, adapter = adapters[module]
            factors = {kind: _whole(p) for kind, p in adapter.named_parameters()}
            weight = merged(weight, factors, adapter, isinstance(linear, Conv1D))
        if ranks.is_first:
            state[name] = weight.to(dtype).cpu().contiguous()
    if not ranks.is_first:
        return
    model.model.save_pretrained(folder, state_dict=state)
    source = Path(job.data["model"])
    for pattern in SIDE_FILES:
        for file in source.glob(pattern):
            shutil.copyfile(file, folder / file.name)
    config = source_config(job.data)
    at_end = job.data["recordAtEnd"] if progress.step == job.num_steps else {}
    lr = job.lr_at(progress.step - 1)
    # transformers 5 writes `dtype` and prefers it; others know `torch_dtype` alone.
    for key in {"torch_dtype", *({"dtype"} & config.keys())}:
        config[key] = str(dtype).removeprefix("torch.")
    config["continuo"] = {
        **config.get("continuo", {}),
        **job.data["record"],
        **at_end,
        "lr": lr,
        "step": progress.step,
        "tokens": progress.tokens,
        **extra,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")


def _write_adapters(job: Job, ranks: Ranks, model: TrainedModel, folder: Path) -> None:
    factors = {
        name: {kind: _whole(p) for kind, p in adapter.named_parameters()}
        for name, (_, adapter) in adapted(model.model).items()
    }
    trained = {p for name, p in model.trained().items() if not is_of_adapter(name)}
    # PEFT keeps copies of what is saved whole, and so no ties: a tied head is a module of its own there.
    named = model.model.named_parameters(remove_duplicate=False)
    whole = {name: _whole(p) for name, p in named if p in trained}
    if ranks.is_first:
        write_peft(folder, model.model, factors, whole, job.data["lora"], job.data["model"])


def _whole(value: torch.Tensor) -> torch.Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach()


def _sync(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(parent))


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _prune(job: Job, run_folder: Path, newest: int, kept: set[int]) -> None:
    def stays(step: int, folder: Path) -> bool:
        return step != newest and (step in kept or (folder / KEEP).exists())

    passing = [(step, folder) for step, folder in list_checkpoints(run_folder) if not stays(step, folder)]
    for _, folder in passing[: -job.data["checkpoint"]["keep"]]:
        leaving = folder.with_name(f"{folder.name}.tmp")
        folder.rename(leaving)
        shutil.rmtree(leaving)


def restore_checkpoint(
    job: Job, folder: Path, model: TrainedModel, optimizer: torch.optim.Optimizer, average: Average | None
) -> Progress:
    """Puts weights and moments of a checkpoint into place, whatever the number of ranks that wrote it."""
    file = folder / "trainer" / "state.json"
    try:
        state = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise DataError(
            file, f"cannot be read ({error}). Remove {folder.name} to go on from an earlier checkpoint."
        ) from None
    if state.get("engine") != "torch":
        raise ConfigError(
            f"{file}: this checkpoint is of the native engine, whose optimizer state this one does not read. "
            "Take engine: native again, or give this run another name."
        )
    expected = job.fingerprint_at(state["step"])
    if state["jobFingerprint"] != expected:
        raise ConfigError(
            f"{file}: this checkpoint belongs to job {state['jobFingerprint']}, the job here is {expected}. The plan or its "
            "data changed since. Give the changed run another name, or remove the checkpoints folder to start over."
        )
    saved = _trainer_state(model, optimizer, average)
    dcp.load(saved, checkpoint_id=str(folder / "trainer" / "distributed"))
    set_optimizer_state_dict(model, optimizer, saved["optimizer"])
    if average:
        for name, value in saved["ema"].items():
            average.values[name].copy_(local(value))
    return Progress(state["step"], state["tokens"])
