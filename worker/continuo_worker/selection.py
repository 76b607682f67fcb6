"""Selective language modeling (RHO-1, Lin et al. 2024; docs/guards.md): of each forward pass the tokens with the highest excess loss over a
frozen reference model bear loss."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import ConfigError, DataError
from .job import Job, Sequence
from .model import TrainedModel, load_frozen
from .ranks import Ranks
from .sequence_cache import SequenceCache, key_of

Stack = Callable[[list[Sequence]], list[torch.Tensor]]


class TokenSelection:
    def __init__(self, job: Job, model: TrainedModel, ranks: Ranks, stack: Stack) -> None:
        """`stack`: inputs, positions and targets of sequences."""
        if model.scales_logits:
            raise ConfigError(
                "training.selectTokens: this model scales its logits in a way of its own. Take engine: native."
            )
        check_passes(job, ranks.world)
        self.settings: dict[str, Any] = job.data["selectTokens"]
        self.job, self.model, self.ranks, self.stack = job, model, ranks, stack
        self.reference: TrainedModel | None = None
        self.caches: dict[int, SequenceCache] = {}
        self.corpora = sorted({shard.corpus for shard in job.shards})
        self.corpus_of = np.array([self.corpora.index(shard.corpus) for shard in job.shards])
        self._begin()

    def _begin(self) -> None:
        # Of the tokens kept: losses, their excess, how many.
        self.kept = np.zeros(3)
        # Of each corpus: excess, without what is below the reference, and tokens.
        self.by_corpus = np.zeros((2, len(self.corpora)))

    def num_kept(self, num_targets: int) -> int:
        return math.ceil(self.settings["keep"] * num_targets)

    def chooser(self, sequences: list[Sequence], each: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """What makes weights of a pass's losses, f32 [rows]: `each` for the tokens that are kept, of equal ones the first; 0 for all others."""
        known = np.concatenate(self._reference_losses(sequences))
        rows = np.flatnonzero(np.concatenate([s.targets >= 0 for s in sequences]))
        corpora = self.corpus_of[np.concatenate([s.shard for s in sequences])[rows]]

        def choose(losses: torch.Tensor) -> torch.Tensor:
            values = losses.cpu().numpy()
            excess = values - known
            for sums, of_row in zip(self.by_corpus, (np.maximum(excess[rows], 0), np.ones(len(rows))), strict=True):
                np.add.at(sums, corpora, of_row)
            kept = rows[np.argsort(-excess[rows], kind="stable")[: self.num_kept(len(rows))]]
            self.kept += [values[kept].sum(dtype=np.float64), excess[kept].sum(dtype=np.float64), len(kept)]
            weights = np.zeros_like(values)
            weights[kept] = each
            return torch.from_numpy(weights).to(losses.device)

        return choose

    def take_means(self) -> dict[str, dict[str, float]]:
        """Of all ranks, since the last call, nats a token."""
        loss, excess, count = self.ranks.sum(torch.from_numpy(self.kept)).tolist()
        by_corpus = self.ranks.sum(torch.from_numpy(self.by_corpus)).T.tolist()
        self._begin()
        return {
            "selected": {"loss": loss / count, "excess": excess / count},
            "excessByCorpus": {c: e / n for c, (e, n) in zip(self.corpora, by_corpus, strict=True) if n > 0},
        }

    def _reference_losses(self, sequences: list[Sequence]) -> list[np.ndarray]:
        seq_len = len(sequences[0].inputs)
        if seq_len not in self.caches:
            self.caches[seq_len] = SequenceCache(Path(self.settings["cache"]) / "torch", 4 * seq_len)
        cache = self.caches[seq_len]
        keys = [key_of(sequence) for sequence in sequences]
        values = [cache.read(key) for key in keys]
        missing = [i for i, value in enumerate(values) if value is None]
        # As many passes on all ranks.
        passes = self.ranks.max(len(missing))
        for i in (missing + [0] * passes)[:passes]:
            losses = self._score(sequences[i])
            if values[i] is None:
                cache.write(keys[i], losses)
                values[i] = losses
        return [np.frombuffer(value, dtype="<f4") for value in values]

    @torch.no_grad()
    def _score(self, sequence: Sequence) -> bytes:
        self.reference = self.reference or self._load()
        inputs, positions, targets = self.stack([sequence])
        losses = self.reference(inputs, positions, targets, torch.zeros_like(targets, dtype=torch.float32))[1]
        return losses.cpu().numpy().astype("<f4").tobytes()

    def _load(self) -> TrainedModel:
        reference = load_frozen(self.job.data, self.settings["model"], self.ranks)
        found, expected = (m.model.config.get_text_config().vocab_size for m in (reference, self.model))
        if found != expected:
            raise DataError(
                self.settings["model"],
                f"training.selectTokens.reference has a vocabulary of {found}, the model one of {expected}: expected the same tokenizer.",
            )
        return reference


def check_passes(job: Job, world: int) -> None:
    """Tokens are chosen within a pass: what the passes are must not depend on the ranks."""
    for phase in job.data["phases"]:
        batch = job.batch_at(phase["firstStep"])
        of_rank, of_pass = batch.sequences_per_step // world, batch.sequences_per_micro_batch
        if of_rank % of_pass:
            raise ConfigError(
                f"training.selectTokens chooses within passes of {of_pass} sequences, into which a rank's {of_rank} cannot be cut. "
                f"Set training.microBatch to a divisor of {of_rank}, or take another number of ranks."
            )
