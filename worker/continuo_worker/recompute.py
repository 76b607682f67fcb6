"""What is kept of a block's forward pass, and what is run again on the way back (`training.recompute`)."""

from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from .errors import ConfigError

RECOMPUTE = ("none", "selective", "full")
aten = torch.ops.aten
# The place of the two matrices among the arguments.
PRODUCTS = {aten.mm.default: 0, aten.addmm.default: 1, aten.bmm.default: 0}
ATTENTION = {
    torch.ops.higher_order.flex_attention,
    aten._scaled_dot_product_flash_attention.default,
    aten._scaled_dot_product_flash_attention_for_cpu.default,
    aten._scaled_dot_product_efficient_attention.default,
    aten._scaled_dot_product_cudnn_attention.default,
}


def run_again(model: PreTrainedModel, how: str) -> None:
    """
    `full` keeps each block's input alone. `selective` keeps besides the results of attention and of products that are no wider than their input:
    what is run again then is norms and other work on single rows, which costs next to nothing, and the MLP's first matrices. Of a Llama block
    that is a third of the bytes that are kept otherwise, and 60 % of the work that `full` adds (docs/LOG.md). Gradients are the same, bit for bit.
    @raises ConfigError where the model's code cannot be run again by blocks
    """
    if how == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
    if how == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    try:
        model.activation_checkpointing_enable(options)
    except ValueError as error:
        raise ConfigError(f"training.recompute: {error} Set training.recompute: false.") from None
    # That is for checkpoints of the older, re-entrant kind.
    model.disable_input_require_grads()


def _policy(_: Any, op: Any, *arguments: Any, **__: Any) -> CheckpointPolicy:
    """
    A kept number saves 2 k operations, whichever product of inner width k made it, so that only how many are kept matters, and which does not.
    torchtitan (distributed/activation_checkpoint.py) keeps every second product; by width it does not depend on their order, nor on adapters.
    """
    if op in PRODUCTS:
        inner, outer = arguments[PRODUCTS[op] + 1].shape[-2:]
        return CheckpointPolicy.MUST_SAVE if outer <= inner else CheckpointPolicy.PREFER_RECOMPUTE
    return CheckpointPolicy.MUST_SAVE if op in ATTENTION else CheckpointPolicy.PREFER_RECOMPUTE
