"""A compiled job as torchtitan's data loader and LR schedule: the same sequences in the same steps, the same LR. Written for torchtitan 0.3."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator

import torch
from torchtitan.components.dataloader import BaseDataLoader
from torchtitan.components.loss import IGNORE_INDEX
from torchtitan.components.optimizer import LRSchedulersContainer

from .job import Job


def open_job(folder: str) -> Job:
    return Job(Path(folder), shards=Path(folder).parent / "shards")


class JobDataLoader(BaseDataLoader):
    """Of each step a rank reads its part of the job's sequences; what it has to remember is how many steps it has read."""

    @dataclass(kw_only=True, slots=True)
    class Config(BaseDataLoader.Config):
        job: str = ""

    def __init__(
        self, config: Config, *, dp_world_size: int, dp_rank: int, seq_len: int, local_batch_size: int, **_: Any
    ) -> None:
        self.job = open_job(config.job)
        self.seq_len = seq_len
        self.local_batch_size = local_batch_size
        self.dp_world_size = dp_world_size
        self.dp_rank = dp_rank
        self.steps_read = 0

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], torch.Tensor]]:
        while self.steps_read < self.job.num_steps:
            step = self.steps_read
            batch = self.job.batch_at(step)
            if batch.seq_len != self.seq_len:
                raise ValueError(
                    f"step {step + 1} has sequences of {batch.seq_len} tokens, this stage trains with {self.seq_len}: "
                    "start the stage that follows"
                )
            each = batch.sequences_per_step // self.dp_world_size
            for first in range(self.dp_rank * each, (self.dp_rank + 1) * each, self.local_batch_size):
                micro_batch = self.job.sequences(step, range(first, first + self.local_batch_size))
                # Counted with the last of a step's micro-batches, since checkpoints are made between steps.
                if first + self.local_batch_size == (self.dp_rank + 1) * each:
                    self.steps_read = step + 1
                stack = lambda arrays: torch.stack([torch.from_numpy(a).long() for a in arrays])
                labels = stack(s.targets for s in micro_batch)
                labels[labels < 0] = IGNORE_INDEX
                inputs, positions = stack(s.inputs for s in micro_batch), stack(s.positions for s in micro_batch)
                yield {"input": inputs, "positions": positions}, labels

    def state_dict(self) -> dict[str, Any]:
        return {"steps_read": self.steps_read}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps_read = state_dict.get("steps_read", 0)


class JobSchedule(LRSchedulersContainer):
    """The LR of each step from the job's file, as a multiple of each parameter group's own `lr`, which is that at the job's peak."""

    @dataclass(kw_only=True, slots=True)
    class Config(LRSchedulersContainer.Config):
        warmup_steps: int = 0
        job: str = ""

        def build(self, *, optimizers: Any, training_steps: int) -> LRSchedulersContainer:
            job = open_job(self.job)
            lrs = [job.lr_at(step) for step in range(job.num_steps)]
            peak = max(lrs)
            # Asked once more after the last step.
            return LRSchedulersContainer(optimizers, lambda step: lrs[min(step, len(lrs) - 1)] / peak)
