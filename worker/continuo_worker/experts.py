"""Routers of models with experts: what they add to the loss, and how evenly they spread a step's tokens, as src/nn/routing.ts has both. A token
behind its sequence's last prediction, such as padding, counts for nothing here."""

import math
from typing import Any

import torch
from transformers import PreTrainedModel

from .errors import ConfigError
from .ranks import Ranks

# As the families' configurations call how many experts a token passes.
PER_TOKEN = ("num_experts_per_tok", "moe_top_k", "moe_k", "top_k_experts")


class Routing:
    def __init__(self, settings: dict[str, float], per_token: int) -> None:
        """`settings`: coefficients of the load-balancing loss and of the z-loss (job.json, `routers`)."""
        self.settings = settings
        self.per_token = per_token
        self._begin()

    def _begin(self) -> None:
        # Choices of each expert, [layers, experts]; the losses, weighted by the passes' shares of the step.
        self.loads: torch.Tensor | None = None
        self.losses = torch.zeros(2, dtype=torch.float64)

    def add(self, logits: tuple[torch.Tensor, ...], targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """
        `logits` of each sparse layer, [batch * seq_len, experts]; targets and weights [batch, seq_len]. Returns what the routers add to the
        pass' loss, weighted by its share of the step, which is the sum of its weights.
        """
        # From the first token to the last that bears loss.
        live = (targets >= 0).flip(1).cumsum(1).flip(1).flatten() > 0
        share = torch.where(targets >= 0, weights, 0.0).sum()
        of_layers = torch.stack([of_layer[live].float() for of_layer in logits])
        num_layers, num_live, num_experts = of_layers.shape
        chosen = of_layers.topk(self.per_token, dim=2).indices.flatten(1)
        loads = torch.zeros(num_layers, num_experts, device=chosen.device)
        loads.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=loads.dtype))
        count = max(1, num_layers * num_live)
        probs = of_layers.softmax(2).sum((0, 1))
        balance = num_experts * (loads.sum(0) * probs).sum() / count**2
        z = of_layers.logsumexp(2).square().sum() / count
        loads = loads.detach().double().cpu()
        self.loads = loads if self.loads is None else self.loads + loads
        self.losses += (share * torch.stack([balance, z])).detach().double().cpu()
        return share * (self.settings["balance"] * balance + self.settings["z"] * z)

    def take_summary(self, ranks: Ranks, share: int) -> dict[str, Any]:
        """Of the step, for metrics.jsonl. `share`: by what its weights were multiplied. Collective."""
        loads, losses = ranks.sum(self.loads), (ranks.sum(self.losses) / share).tolist()
        self._begin()
        most, least = (extreme / loads.mean(1) for extreme in (loads.amax(1), loads.amin(1)))
        shares = loads / loads.sum(1, keepdim=True)
        nats = -torch.special.xlogy(shares, shares).sum(1)
        entropy = nats / math.log(loads.shape[1]) if loads.shape[1] > 1 else torch.ones_like(nats)
        by_layer = {"maxLoad": most, "minLoad": least, "entropy": entropy}
        return {
            "maxLoad": float(most.max()),
            "minLoad": float(least.min()),
            "entropy": float(entropy.mean()),
            "auxLoss": losses[0],
            "zLoss": losses[1],
            "byLayer": {key: [math.floor(x * 1e4 + 0.5) / 1e4 for x in values.tolist()] for key, values in by_layer.items()},
        }


def routing_of(model: PreTrainedModel, job: dict[str, Any]) -> Routing | None:
    """@raises ConfigError where the job asks for losses of routers that the model's code does not show"""
    config = model.config.get_text_config()
    per_token = next((n for key in PER_TOKEN if isinstance(n := getattr(config, key, None), int)), None)
    settings = job.get("routers") or {"balance": 0.0, "z": 0.0}
    if per_token is not None and "router_logits" in (getattr(model.base_model, "_can_record_outputs", None) or {}):
        return Routing(settings, per_token)
    if any(settings.values()):
        raise ConfigError(
            f"{type(model).__name__} does not show its routers' logits, so nothing can be added to the loss for them. "
            "Set training.routerAuxLoss: 0, and take training.routerZLoss out."
        )
    return None
