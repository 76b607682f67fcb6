"""How much of a GPU's arithmetic a step uses (MFU: model FLOPs utilisation, Chowdhery et al. 2022, appendix B)."""

import re
import time
from typing import Any

import torch
from torch import nn

from .adapters import is_of_adapter
from .model import TrainedModel
from .ranks import Ranks

# Dense bf16 operations a second by words of the device's name, the first that fit; those of src/recipe/hardware.ts, where the sources stand.
PEAKS = {
    "A100": 312e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "H200": 989e12,
    "B200": 2250e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "RTX 3090": 71e12,
    "RTX 4090": 165.2e12,
    "RTX 5090": 209.5e12,
    "MI300X": 1307e12,
}
# With these words it is another device, or a part of one.
OTHERS = ("NVL", "Laptop", "MIG")
MEASURED_WIDTH = 8192


class Utilisation:
    """Of bf16 runs on GPUs."""

    def __init__(self, model: TrainedModel, job: dict[str, Any], ranks: Ranks) -> None:
        self.matrices, self.attention = flops_per_token(model, job)
        self.world = ranks.world
        name = torch.cuda.get_device_name()
        published = published_peak(name)
        # The slowest rank's, where it is measured.
        # All ranks take part, also where only some of them have a device that is not known.
        slowest = -ranks.max(-int(published or measured_peak(ranks.device)))
        self.peak = published or float(slowest)
        self.record = {"device": name, "flops": self.peak, "source": "published" if published else "measured"}

    def of(self, num_tokens: int, seq_len: int, seconds: float) -> float:
        """Share of the peak, of a step of all ranks. Layers that are run again do not count."""
        return num_tokens * (self.matrices + self.attention * seq_len) / (seconds * self.peak * self.world)


def published_peak(device_name: str) -> float | None:
    if any(word in device_name.split() for word in OTHERS):
        return None
    return next((peak for words, peak in PEAKS.items() if re.search(rf"\b{words}\b", device_name)), None)


def flops_per_token(model: TrainedModel, job: dict[str, Any]) -> tuple[float, float]:
    """Operations to train on a token: of matrices, and of attention for each token of a sequence's length (trainFlopsPerToken, src/recipe/cost.ts)."""
    own = [p for name, p in model.named_parameters() if not is_of_adapter(name)]
    tables = model.embeddings()
    config = model.model.config.get_text_config()
    head = model.model.get_output_embeddings().weight
    passed = sum(p.numel() * _active(p, model) for p in own if p not in tables) + head.numel()
    trained = 0.0 if "lora" in job else sum(p.numel() for p in own if p.requires_grad) / sum(p.numel() for p in own)
    # Models without attention have no heads.
    heads = getattr(config, "num_attention_heads", 0)
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // max(1, heads))
    return (4 + 2 * trained) * passed, 6.0 * config.num_hidden_layers * width


def _active(parameter: nn.Parameter, model: TrainedModel) -> float:
    """Share of a parameter that a token passes. Matrices of experts are stacked."""
    return model.routing.per_token / parameter.shape[0] if model.routing and parameter.ndim == 3 else 1.0


def measured_peak(device: torch.device, width: int = MEASURED_WIDTH) -> float:
    """Operations a second of a square bf16 product, the best of some."""
    a, b = (torch.randn(width, width, dtype=torch.bfloat16, device=device) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        a @ b
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * width**3 / best
