"""Quadratic penalties on the distance of weights from those that the run began with: EWC and L2-SP (docs/guards.md)."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from .adapters import put
from .checkpoint import local
from .errors import ConfigError, DataError
from .job import Job
from .model import TrainedModel, stored_names
from .ranks import Ranks


class Penalty:
    """1/2 sum (l2 + ewc F) (w - a)^2 over the trained weights, of each rank's own part. To be made before a checkpoint is put into the model."""

    def __init__(self, job: Job, model: TrainedModel, ranks: Ranks) -> None:
        ewc, l2 = job.data["guard"].get("ewc"), job.data["guard"].get("l2")
        if ewc and model.routing:
            raise ConfigError(
                "guard.ewc: its Fisher information is of each expert, and transformers keeps a layer's experts as one. "
                "Take guard.l2, or engine: native."
            )
        self.strength, self.fisher_strength = l2["strength"] if l2 else 0.0, ewc["strength"] if ewc else 0.0
        self.ranks = ranks
        self.trained = model.trained()
        # As exact as a model stored in bf16 is, at half the memory.
        dtype = torch.bfloat16 if job.data["precision"] == "bf16" else torch.float32
        self.anchors = {name: local(p).detach().to(dtype, copy=True) for name, p in self.trained.items()}
        stored_name = stored_names(model.model, job.data["model"])
        self.fisher: dict[str, torch.Tensor] = {}
        if ewc:
            file = job.folder / ewc["fisher"]
            with safe_open(file, "pt") as stored:
                for name, parameter in self.trained.items():
                    self.fisher[name] = _part(stored, file, stored_name(name.removeprefix("model.")), parameter)

    @torch.no_grad()
    def add(self) -> float:
        """Adds its gradient to the weights'. Returns its value before the step, nats."""
        total = 0.0
        for name, parameter in self.trained.items():
            if parameter.grad is None:
                continue
            distance = local(parameter) - self.anchors[name]
            pull = distance * self.strength
            if name in self.fisher:
                pull += distance * self.fisher[name] * self.fisher_strength
            local(parameter.grad).add_(pull)
            total += float((pull * distance).sum(dtype=torch.float64)) / 2
        return float(self.ranks.sum(torch.tensor([total], dtype=torch.float64)).item())


def _part(stored: Any, file: Path, name: str, parameter: torch.Tensor) -> torch.Tensor:
    """This rank's part of a tensor, bf16. @raises DataError where it is of another model"""
    found = stored.get_slice(name) if name in set(stored.keys()) else None
    if found is None or found.get_dtype() != "BF16" or found.get_shape() != list(parameter.shape):
        raise DataError(
            file,
            f"tensor {name}: expected BF16 {list(parameter.shape)}, found "
            f"{'none' if found is None else f'{found.get_dtype()} {found.get_shape()}'}. "
            "This Fisher information is of another model than the one that is trained.",
        )
    part = torch.empty_like(parameter, dtype=torch.bfloat16)
    put(part, found)
    return local(part)
