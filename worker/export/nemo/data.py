"""A compiled job as NeMo Automodel's dataset and LR. Written for nemo-automodel 0.7."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .job import Job

IGNORED = -100


class JobDataset(torch.utils.data.Dataset):
    """Sample i is sequence i of the job, packed as `neat_packed_collater` takes it: `attention_mask` numbers the documents from 1."""

    def __init__(self, job: str, shards: str) -> None:
        self.job = Job(Path(job), shards=Path(shards))
        self.sequences_per_step = self.job.batch_at(0).sequences_per_step

    def __len__(self) -> int:
        return self.job.num_steps * self.sequences_per_step

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        step, place = divmod(int(index), self.sequences_per_step)
        sequence = self.job.sequences(step, range(place, place + 1))[0]
        arrays = {
            "input_ids": sequence.inputs,
            # Already one token ahead, as the loss takes them.
            "labels": np.where(sequence.targets < 0, IGNORED, sequence.targets),
            "position_ids": sequence.positions,
            "attention_mask": np.cumsum(sequence.positions == 0),
        }
        return {name: torch.from_numpy(array).long() for name, array in arrays.items()}


def make_get_lr(job: Job) -> Any:
    """Takes the place of OptimizerParamScheduler.get_lr, whose num_steps counts steps; it multiplies by a group's `lr_mult`."""

    def get_lr(self: Any, param_group: dict[str, Any]) -> float:
        return job.lr_at(min(self.num_steps, job.num_steps - 1))

    return get_lr
