"""Attention inside documents, for every family, and a short look at a model before it is trained: what is found there cannot be known from its
configuration. Most families end attention where positions begin again; others make their masks without positions, and get them from here;
layers that carry a state from token to token (Mamba, RWKV) have no mask at all."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.distributed.fsdp import FSDPModule
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, and_masks

# Tokens of the two documents of the look.
FIRST, SECOND = 17, 15
# Nats, of losses that ought to be equal: masked tokens add exact zeros, but kernels may sum in another order at another place. A model that
# was trained differs by tenths, the random ones of the tests by 1e-4.
TOLERANCE = {"f32": 2e-5, "bf16": 0.02}
NOT_APART = (
    "documents that stand in one sequence are not kept apart: layers of this model carry what they read from one document into the next. "
    "Losses, and scores of held-out documents, depend on what stands before a document in its sequence."
)
NOT_RESTARTED = "positions of this model do not begin again with each document of a sequence, only with the sequence."


class _Masks:
    """Number of the document of each token, [batch, seq_len], while a pass is made whose masks have to be told."""

    documents: torch.Tensor | None = None


@contextlib.contextmanager
def told(positions: torch.Tensor | None) -> Iterator[None]:
    """Masks that transformers makes inside end at the documents' borders, where `positions` begin again."""
    before = _Masks.documents
    _Masks.documents = None if positions is None else (positions == 0).cumsum(-1)
    try:
        yield
    finally:
        _Masks.documents = before


def _ending_at_borders(make: Callable[..., Any]) -> Callable[..., Any]:
    def make_mask(*args: Any, **options: Any) -> Any:
        documents = _Masks.documents
        if documents is not None:

            def is_same(batch: Any, _head: Any, query: Any, key: Any) -> Any:
                return documents[batch, query] == documents[batch, key]

            options |= {"mask_function": and_masks(options["mask_function"], is_same), "allow_is_causal_skip": False}
        return make(*args, **options)

    return make_mask


for _name in ("eager", "sdpa", "flex_attention"):
    ALL_MASK_ATTENTION_FUNCTIONS.register(_name, _ending_at_borders(ALL_MASK_ATTENTION_FUNCTIONS[_name]))


@torch.no_grad()
def look_at(model: Any, precision: str, device: torch.device) -> list[str]:
    """
    Finds out by passes over made-up documents how a TrainedModel keeps documents apart and how it makes its logits, and sets it up so.
    Collective. Returns what the user has to know.
    """
    numbers = torch.Generator().manual_seed(0)
    size = model.model.config.get_text_config().vocab_size
    one, other, read = (torch.randint(size, (n,), generator=numbers) for n in (FIRST, FIRST, SECOND))
    tokens = torch.stack([torch.cat(row) for row in ((one, read), (other, read), (read, one))]).to(device)
    counts = [torch.cat([torch.arange(n) for n in row]) for row in ((FIRST, SECOND), (FIRST, SECOND), (SECOND, FIRST))]
    positions = torch.stack(counts).to(device)
    targets = tokens.roll(-1, 1)
    weights = torch.zeros(targets.shape, device=device)

    def losses() -> torch.Tensor:
        return model(tokens, positions, targets, weights)[1].view(targets.shape)

    def differ(a: torch.Tensor, b: torch.Tensor) -> bool:
        return bool((a - b).abs().max() > TOLERANCE[precision])

    def depends_on_others(found: torch.Tensor) -> bool:
        # The last token is asked for the row's first one.
        return differ(found[0, FIRST:-1], found[1, FIRST:-1])

    model.eval()
    # A pass of this shape is not worth being compiled for.
    with torch.compiler.set_stance("force_eager") if device.type == "cuda" else contextlib.nullcontext():
        found = losses()
        if not model.scales_logits:
            model.scales_logits = True
            own = losses()
            model.scales_logits = differ(own, found)
            found = own if model.scales_logits else found
        if depends_on_others(found):
            model.tells_masks = True
            found = losses()
    for module in model.modules():
        if isinstance(module, FSDPModule):
            # A pass without gradients leaves the outermost weights gathered.
            module.reshard()
    if depends_on_others(found):
        model.tells_masks = False
        return [NOT_APART]
    return [NOT_RESTARTED] if differ(found[0, FIRST:-1], found[2, : SECOND - 1]) else []

