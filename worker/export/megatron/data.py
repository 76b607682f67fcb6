"""A compiled job as Megatron-LM's dataset and LR: sample i is sequence i of the job. Written for Megatron Core 0.19."""

from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .job import Job

# Set by train.sh, which knows the stage.
END_STEP = "CONTINUO_END_STEP"


class Steps:
    """Which step a sequence belongs to, counting sequences over the whole run."""

    def __init__(self, job: Job) -> None:
        self.phases = [(job.first_sequence(p["firstStep"]), p["firstStep"]) for p in job.data["phases"]]
        self.job = job

    def place(self, sequence: int) -> tuple[int, int]:
        """The step, and the place in it."""
        first, step = self.phases[bisect_right(self.phases, (sequence, self.job.num_steps)) - 1]
        whole, place = divmod(sequence - first, self.job.batch_at(step).sequences_per_step)
        return step + whole, place

    def sequences_before(self, step: int) -> int:
        return self.job.first_sequence(step - 1) + self.job.batch_at(step - 1).sequences_per_step


class JobDataset(torch.utils.data.Dataset):
    """Samples as GPTDataset gives them with --dataloader-inter-document-masking; Megatron's own sampler takes them in order."""

    def __init__(self, job: Job, end_step: int) -> None:
        self.job = job
        self.steps = Steps(job)
        self.num_sequences = self.steps.sequences_before(end_step)

    def __len__(self) -> int:
        return self.num_sequences

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        step, place = self.steps.place(int(index))
        sequence = self.job.sequences(step, range(place, place + 1))[0]
        seq_len = len(sequence.inputs)
        bears_loss = sequence.targets >= 0
        borders = np.append(np.flatnonzero(sequence.positions == 0), seq_len).astype(np.int32)
        # Of one length for all samples, so that they stack; Megatron takes the repeated ends off again.
        cu_seqlens = np.full(seq_len + 1, seq_len, dtype=np.int32)
        cu_seqlens[: len(borders)] = borders
        return {
            "tokens": torch.from_numpy(sequence.inputs).long(),
            "labels": torch.from_numpy(np.where(bears_loss, sequence.targets, 0)).long(),
            "loss_mask": torch.from_numpy(bears_loss.astype(np.float32)),
            "position_ids": torch.from_numpy(sequence.positions).long(),
            "cu_seqlens": torch.from_numpy(cu_seqlens),
            "max_seqlen": torch.tensor(int(np.diff(borders).max()), dtype=torch.int32),
        }


def make_builder(job: Job, end_step: int) -> type:
    """Takes the place of BlendedMegatronDatasetBuilder: training data alone."""

    class JobDatasetBuilder:
        def __init__(self, dataset_type: type, sizes: list[int], is_built_on_rank: Any, config: Any) -> None:
            batch = job.batch_at(end_step - 1)
            if config.sequence_length != batch.seq_len:
                raise ValueError(f"--seq-length {config.sequence_length}: this stage has sequences of {batch.seq_len}")
            self.is_built_on_rank = is_built_on_rank

        def build(self) -> list[JobDataset | None]:
            return [JobDataset(job, end_step) if self.is_built_on_rank() else None, None, None]

    return JobDatasetBuilder


def make_get_lr(job: Job) -> Any:
    """Takes the place of OptimizerParamScheduler.get_lr, whose num_steps counts sequences."""
    steps = Steps(job)

    def get_lr(self: Any, param_group: dict[str, Any]) -> float:
        step = min(steps.place(self.num_steps)[0], job.num_steps - 1)
        return job.lr_at(step) * (param_group.get("max_lr", self.max_lr) / self.max_lr)

    return get_lr
