"""Distillation from the model as it came (docs/guards.md): the divergence of the tokens of some corpora joins their loss."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .adapters import without_adapters
from .errors import ConfigError
from .job import Job, Sequence
from .loss import TeacherRows, TeacherStates, TopTokens, capped_logits
from .model import TrainedModel, load_frozen
from .ranks import Ranks
from .sequence_cache import SequenceCache, key_of

Stack = Callable[[list[Sequence]], list[torch.Tensor]]


class Distillation:
    def __init__(self, job: Job, model: TrainedModel, ranks: Ranks, stack: Stack) -> None:
        """`stack`: inputs, positions and targets of sequences."""
        if model.scales_logits:
            raise ConfigError("guard.distill: this model scales its logits in a way of its own. Take engine: native.")
        self.settings: dict[str, Any] = job.data["guard"]["distill"]
        self.job, self.model, self.ranks, self.stack = job, model, ranks, stack
        lora = job.data.get("lora")
        # Without its adapters such a model is still what it was; otherwise a copy is read beside it, once it is asked.
        self.teacher = model if lora and not lora["embeddings"] else None
        taught = (s["split"] == "train" and s["corpus"] in self.settings["corpora"] for s in job.data["shards"])
        # The last one is padding's.
        self.is_taught = np.array([*taught, False])
        self.caches: dict[int, SequenceCache] = {}
        self.nats: float | torch.Tensor = 0.0
        self.num_tokens = 0

    def teach(self, sequences: list[Sequence], each: float) -> TeacherRows | None:
        """What the base says of a pass; None where that holds no token of its corpora, on all ranks. `each`: what a token's loss counts."""
        temperature = self.settings["temperature"]
        weights = np.stack([self.is_taught[s.shard] & (s.targets >= 0) for s in sequences]).astype(np.float32)
        taught = np.flatnonzero(weights.any(axis=1)).tolist()
        self.num_tokens += int(weights.sum())
        said = self._likeliest(sequences, taught) if "top" in self.settings else self._states(sequences, taught)
        if said is None:
            return None
        # Hinton et al. 2015, section 2: gradients of softened targets are smaller by the square of the temperature.
        weights *= each * self.settings["weight"] * temperature**2
        return TeacherRows(temperature, torch.from_numpy(weights).flatten().to(self.ranks.device), said)

    def add(self, divergences: torch.Tensor) -> None:
        # Stays where it is: to fetch it, a GPU would have to come to the end of the pass.
        self.nats = self.nats + divergences.sum(dtype=torch.float64)

    def take_mean(self) -> dict[str, float]:
        """Of all ranks, since the last call, nats a token; nothing where there was none."""
        nats, count = self.ranks.sum(torch.tensor([float(self.nats), self.num_tokens], dtype=torch.float64)).tolist()
        self.nats, self.num_tokens = 0.0, 0
        return {"distillKl": nats / count} if count else {}

    @torch.no_grad()
    def _hidden(self, sequences: list[Sequence]) -> torch.Tensor:
        """Final rows, [sequences, seq_len, d]."""
        teacher = self._open()
        with without_adapters(teacher.model) if teacher is self.model else nullcontext():
            return teacher(*self.stack(sequences)[:2])

    def _open(self) -> TrainedModel:
        if self.teacher is None:
            self.teacher = load_frozen(self.job.data, self.job.data["model"], self.ranks)
        return self.teacher

    def _states(self, sequences: list[Sequence], taught: list[int]) -> TeacherStates | None:
        # All ranks make the pass or none; who has nothing to ask joins with its first sequence.
        if not self.ranks.any(len(taught) > 0):
            return None
        asked = taught or [0]
        found = self._hidden([sequences[i] for i in asked])
        hidden = found.new_zeros(len(sequences), *found.shape[1:])
        hidden[asked] = found
        teacher = self._open()
        return TeacherStates(hidden.flatten(0, 1), None if teacher is self.model else teacher.head())

    def _likeliest(self, sequences: list[Sequence], taught: list[int]) -> TopTokens | None:
        k, seq_len = self.settings["top"]["k"], len(sequences[0].inputs)
        head_rows = self.model.model.config.get_text_config().vocab_size
        id_type = np.dtype("<i4" if head_rows > 1 << 16 else "<u2")
        if seq_len not in self.caches:
            size = seq_len * (k * id_type.itemsize + (k + 1) * 2)
            self.caches[seq_len] = SequenceCache(Path(self.settings["top"]["cache"]) / "torch", size)
        cache = self.caches[seq_len]
        keys = {i: key_of(sequences[i]) for i in taught}
        values = {i: cache.read(key) for i, key in keys.items()}
        missing = [i for i in taught if values[i] is None]
        # Each sequence by itself, so that what is kept does not depend on its neighbours; as many passes on all ranks.
        passes = self.ranks.max(len(missing))
        for i in (missing + [0] * passes)[:passes]:
            packed = _packed(*self._top(sequences[i], k), id_type)
            if values.get(i, packed) is None:
                cache.write(keys[i], packed)
                values[i] = packed
        if not self.ranks.any(len(taught) > 0):
            return None
        ids = np.zeros((len(sequences), seq_len, k), dtype=np.int64)
        probs = np.zeros((len(sequences), seq_len, k + 1), dtype=np.float32)
        for i, value in values.items():
            # Also what was just computed goes through the bytes on disk: a run does not depend on what was there before it.
            ids[i], probs[i] = _unpacked(value, seq_len, k, id_type)
        to_rows = (torch.from_numpy(x).flatten(0, 1).to(self.ranks.device) for x in (ids, probs))
        return TopTokens(*to_rows)

    @torch.no_grad()
    def _top(self, sequence: Sequence, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k likeliest tokens of each row with a target, and their probabilities, the last one that of all others; 0 elsewhere."""
        logits = capped_logits(self._hidden([sequence])[0], *self._open().head(), self.model.softcap)
        probs, ids = torch.softmax(logits / self.settings["temperature"], dim=1).topk(k, dim=1)
        rest = (1 - probs.sum(1, keepdim=True)).clamp(min=0)
        bears = torch.from_numpy(sequence.targets >= 0).unsqueeze(1)
        return (ids.cpu() * bears).numpy(), (torch.cat([probs, rest], dim=1).cpu() * bears).numpy()


def _packed(ids: np.ndarray, probs: np.ndarray, id_type: np.dtype) -> bytes:
    """Ids, then probabilities as bf16, rounded half up: 8 bits of precision each, whatever their size."""
    halves = (probs.astype("<f4").view("<u4") + 0x8000) >> 16
    return ids.astype(id_type).tobytes() + halves.astype("<u2").tobytes()


def _unpacked(values: bytes, rows: int, k: int, id_type: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a row are made to add up to 1 again."""
    split = rows * k * id_type.itemsize
    ids = np.frombuffer(values[:split], dtype=id_type).reshape(rows, k).astype(np.int64)
    halves = np.frombuffer(values[split:], dtype="<u2").astype("<u4") << 16
    probs = halves.view("<f4").reshape(rows, k + 1).astype(np.float64)
    sums = probs.sum(axis=1, keepdims=True)
    return ids, np.divide(probs, sums, out=probs, where=sums > 0).astype(np.float32)
