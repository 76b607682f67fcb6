"""Checkpoints of a run: a Hugging Face folder that any tool loads, plus trainer/ with what resuming needs, in PyTorch's distributed format,
which another number of ranks reads as well. A folder is complete or absent (atomic rename)."""

import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.tensor import DTensor

from .adapters import adapted, is_of_adapter, write_peft
from .errors import ConfigError, DataError
from .job import Job
from .model import TrainedModel, source_config
from .model_files import ModelFiles, Tensors, full, write_safetensors
from .ranks import Ranks
from .storage import describe, free_bytes, gigabytes, is_refusal

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


@dataclass(frozen=True)
class Saved:
    """How writing a checkpoint ended, the same on all ranks."""

    step: int
    folder: Path
    # Seconds that training stood still, and until the folder was there.
    stood_still: float
    until_safe: float
    # Why there is no folder.
    failure: str | None


@dataclass
class _UnderWay:
    step: int
    start: float
    stood_still: float
    failure: "Future[str | None]"


# Where in a checkpoint's folder a model belongs, and its files in rounds.
Model = tuple[str, Iterable[list[tuple[str, Tensors]]]]


class Checkpoints:
    """
    Writes them, one at a time. Beside the training: all is copied to main memory, each rank its part, and a thread writes it; the folder gets its
    name when all ranks are done. Otherwise tensors are written as they come. Collective: every rank calls every method.
    """

    def __init__(
        self,
        job: Job,
        run_folder: Path,
        ranks: Ranks,
        model: TrainedModel,
        optimizer: torch.optim.Optimizer,
        average: Average | None,
        kept: Callable[[], set[int]],
    ) -> None:
        """`kept`: steps whose checkpoints are not removed."""
        self._job = job
        self._run_folder = run_folder
        self._ranks = ranks
        self._model = model
        self._optimizer = optimizer
        self._average = average
        self._kept = kept
        dtype = torch.bfloat16 if job.data["precision"] == "bf16" else torch.float32
        self._files = ModelFiles(model.model, ranks, dtype)
        # Of its own: messages of the training and of a checkpoint must not meet. How long a disk takes is not what its time limit is for.
        self._group = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        self._thread = ThreadPoolExecutor(1)
        self._stager = DefaultStager(StagingOptions(ranks.uses_gpu, False, False, ranks.uses_gpu))
        self._under_way: _UnderWay | None = None

    @property
    def num_bytes(self) -> int:
        """Of a checkpoint, about: the model, and in f32 weights, moments and average of what is trained."""
        trained = sum(parameter.numel() for parameter in self._model.trained().values())
        return self._files.num_bytes + trained * 4 * (4 if self._average else 3)

    def save(self, progress: Progress, beside: bool) -> Saved | None:
        """None: it is being written beside the training, and `settle` tells how it ended. None may be under way."""
        start = time.perf_counter()
        step = progress.step
        temporary = self._folder(step).with_suffix(".tmp")
        state = _trainer_state(self._model, self._optimizer, self._average)
        adapter = self._gathered_adapter() if "lora" in self._job.data else None
        texts = self._texts(progress)
        failure: Future[str | None]
        if beside:
            models: list[Model] = [("", list(self._files.rounds(whole=True)))]
            state = self._stager.stage(state)
            failure = self._thread.submit(self._write, temporary, models, state, adapter, texts)
        else:
            models = [("", self._files.rounds()), *([("ema", self._average_rounds())] if self._has_average(step) else [])]
            failure = Future()
            failure.set_result(self._write(temporary, models, state, adapter, texts))
        self._under_way = _UnderWay(step, start, time.perf_counter() - start, failure)
        return None if beside else self.settle(wait=True)

    def settle(self, wait: bool) -> Saved | None:
        """Gives a checkpoint that all ranks have written its name. None: nothing is under way or, where it is not waited for, not done."""
        if self._under_way is None:
            return None
        start, under_way = time.perf_counter(), self._under_way
        if under_way.failure.done():
            # A defect ends this rank, and by that the others.
            under_way.failure.result()
        if wait:
            self._ranks.beat("the writing of a checkpoint")
            futures.wait([under_way.failure])
            self._ranks.beat("the wait for the others' checkpoint")
        elif not self._ranks.all(under_way.failure.done()):
            return None
        folder, failure = self._folder(under_way.step), under_way.failure.result()
        # Writing ends in an agreement: where it is done here, it is everywhere.
        failure = str(self._ranks.from_first(self._finish(folder, failure) if self._ranks.is_first else None) or "")
        now = time.perf_counter()
        self._under_way = None
        stood_still = under_way.stood_still + now - start
        return Saved(under_way.step, folder, stood_still, now - under_way.start, failure or None)

    def _folder(self, step: int) -> Path:
        return self._run_folder / "checkpoints" / name_of(step)

    def _has_average(self, step: int) -> bool:
        """Whether the average's model is a part of the checkpoint: of the last one, which is not written beside the training."""
        return self._average is not None and step == self._job.num_steps

    def _average_rounds(self) -> Iterator[list[tuple[str, Tensors]]]:
        assert self._average
        self._average.exchange()
        try:
            yield from self._files.rounds()
        finally:
            self._average.exchange()

    def _write(
        self, temporary: Path, models: list[Model], state: dict[str, Any], adapter: tuple | None, texts: dict[str, str]
    ) -> str | None:
        """Returns why it could not be written, the same on all ranks."""
        refused: BaseException | None = None

        def attempt(write: Callable[..., None], *arguments: Any) -> None:
            """Once one of its writes was refused a rank still takes part in what the others need."""
            nonlocal refused
            if refused is None:
                try:
                    write(*arguments)
                except Exception as error:
                    if not is_refusal(error):
                        raise
                    refused = error

        trainer = temporary / "trainer" / "distributed"
        for folder in (trainer, *(temporary / name for name, _ in models)):
            attempt(partial(os.makedirs, folder, exist_ok=True))
        for name, rounds in models:
            for files in rounds:
                for file, tensors in files:
                    attempt(write_safetensors, temporary / name / file, tensors)
                # Before the next ones are gathered.
                files.clear()
        if self._ranks.is_first:
            for name, _ in models:
                attempt(self._files.write_index, temporary / name)
                attempt(self._copy_side_files, temporary / name)
            for name, text in texts.items():
                attempt((temporary / name).write_text, text)
            if adapter:
                attempt(write_peft, temporary / "adapter", self._model.model, *adapter)
        if failure := self._agree(describe(refused) if refused else None):
            return failure
        try:
            # Copied ahead it would be on a stream of the GPU, of the thread's own device, and wait there for the training.
            writer = dcp.FileSystemWriter(trainer, per_thread_copy_ahead=0)
            dcp.save(state, storage_writer=writer, process_group=self._group)
        except CheckpointException as error:
            errors = [failed for failed, _ in error.failures.values()]
            if not all(map(is_refusal, errors)):
                raise RuntimeError(f"the trainer's state could not be written: {errors[0]!r}") from error
            return describe(errors[0])
        if self._ranks.is_first:
            attempt(_sync, temporary)
        return self._agree(describe(refused) if refused else None)

    def _agree(self, failure: str | None) -> str | None:
        """What failed on any rank."""
        found: list[str | None] = [failure]
        if self._ranks.world > 1:
            found = [None] * self._ranks.world
            dist.all_gather_object(found, failure, group=self._group)
        return next((text for text in found if text), None)

    def _finish(self, folder: Path, failure: str | None) -> str | None:
        temporary = folder.with_suffix(".tmp")
        if failure is None:
            try:
                temporary.rename(folder)
                _sync_folder(folder.parent)
            except OSError as error:
                failure = describe(error)
        if failure is None:
            # What cannot be removed takes room and does no harm: where that gets short, the next checkpoint says so.
            with contextlib.suppress(OSError):
                _prune(self._job, self._run_folder, int(folder.name.removeprefix("step-")), self._kept())
            return None
        shutil.rmtree(temporary, ignore_errors=True)
        free = free_bytes(folder)
        room = f", {gigabytes(free)} are free there" if free is not None else ""
        return f"{folder}: {failure}. A checkpoint takes about {gigabytes(self.num_bytes)}{room}."

    def _texts(self, progress: Progress) -> dict[str, str]:
        """Small files, by where in the folder they belong."""
        job, step = self._job, progress.step
        state = {
            "formatVersion": 1,
            "engine": "torch",
            "step": step,
            "tokens": progress.tokens,
            "jobFingerprint": job.fingerprint_at(step),
            "precision": job.data["precision"],
            "worldSize": self._ranks.world,
        }
        texts = {
            "trainer/state.json": json.dumps(state, indent=2) + "\n",
            "config.json": self._config(progress, {}),
        }
        if self._average and self._has_average(step):
            texts["ema/config.json"] = self._config(progress, {"ema": self._average.decay})
        return texts

    def _config(self, progress: Progress, extra: dict[str, Any]) -> str:
        job = self._job
        dtype = "bfloat16" if job.data["precision"] == "bf16" else "float32"
        config = source_config(job.data)
        # transformers 5 writes `dtype` and prefers it; others know `torch_dtype` alone.
        for key in {"torch_dtype", *({"dtype"} & config.keys())}:
            config[key] = dtype
        config["continuo"] = {
            **config.get("continuo", {}),
            **job.data["record"],
            **(job.data["recordAtEnd"] if progress.step == job.num_steps else {}),
            "lr": job.lr_at(progress.step - 1),
            "step": progress.step,
            "tokens": progress.tokens,
            **extra,
        }
        return json.dumps(config, indent=2, ensure_ascii=False) + "\n"

    def _copy_side_files(self, folder: Path) -> None:
        source = Path(self._job.data["model"])
        # A model's own code, which its config.json names.
        code = ("*.py",) if "auto_map" in source_config(self._job.data) else ()
        for pattern in (*SIDE_FILES, *code):
            for file in source.glob(pattern):
                shutil.copyfile(file, folder / file.name)

    def _gathered_adapter(self) -> tuple[dict[str, Tensors], Tensors, dict[str, Any], str]:
        """Copies of the adapters' factors and of what is trained whole beside them, in main memory, and what else write_peft takes."""
        lora, model = self._job.data["lora"], self._model.model

        def gathered(value: torch.Tensor) -> torch.Tensor:
            return full(value).to("cpu", copy=True)

        factors = {
            name: {kind: gathered(p) for kind, p in adapter.named_parameters()}
            for name, (_, adapter) in adapted(model).items()
        }
        trained = {p for name, p in self._model.trained().items() if not is_of_adapter(name)}
        # PEFT keeps copies of what is saved whole, and so no ties: a tied head is a module of its own there.
        named = model.named_parameters(remove_duplicate=False)
        return factors, {name: gathered(p) for name, p in named if p in trained}, lora, self._job.data["model"]


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
    try:
        dcp.load(saved, checkpoint_id=str(folder / "trainer" / "distributed"))
    except CheckpointException as error:
        failed, _ = next(iter(error.failures.values()))
        raise DataError(
            folder / "trainer", f"cannot be read ({failed}). Remove {folder.name} to go on from an earlier checkpoint."
        ) from error
    set_optimizer_state_dict(model, optimizer, saved["optimizer"])
    if average:
        for name, value in saved["ema"].items():
            average.values[name].copy_(local(value))
    return Progress(state["step"], state["tokens"])
