"""Any causal language model of transformers, sharded over the ranks (FSDP2), with attention that stays inside documents."""

import contextlib
import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from .adapters import add_adapters, begin, is_of_adapter, read_adapters
from .documents import look_at, told
from .errors import ConfigError
from .experts import routing_of
from .loss import TeacherRows, fused_cross_entropy
from .own_code import config_of, fill_buffers, has_own_code, made
from .ranks import Ranks
from .recompute import run_again
from .weights import agreed, load_weights, stored_tensors


class TrainedModel(nn.Module):
    """A model whose output is its losses."""

    def __init__(self, model: PreTrainedModel, job: dict[str, Any]) -> None:
        super().__init__()
        self.model = model
        self.routing = routing_of(model, job)
        config = model.config.get_text_config()
        self.softcap = getattr(config, "final_logit_softcapping", None)
        # Logits are more than the head's product: the model computes them itself, all at once. A model's own code may have no body to ask.
        self.scales_logits = model.base_model is model
        # Its masks have to be told where documents end.
        self.tells_masks = False
        takes = inspect.signature(model.forward).parameters
        self.takes_positions = "position_ids" in takes or any(p.kind is p.VAR_KEYWORD for p in takes.values())
        # What a look at it found that the user has to know.
        self.warnings: list[str] = []

    def forward(
        self,
        inputs: torch.Tensor,
        positions: torch.Tensor,
        targets: torch.Tensor | None = None,
        weights: torch.Tensor | None = None,
        teacher: TeacherRows | None = None,
        choose: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> Any:
        """
        All [batch, seq_len]; positions begin at 0 with each document, which is how transformers finds the documents' borders.
        Returns sum(weights * losses), a teacher's divergences and what routers cost added, then the losses and the divergences, nats, f32 [batch * seq_len].
        `choose` makes weights of the losses. Without targets: the final hidden rows, [batch, seq_len, d].
        """
        if targets is None or weights is None:
            return self._read(self.model.base_model, inputs, positions).last_hidden_state
        routes = self.routing is not None and torch.is_grad_enabled()
        read = self._read(self.model if self.scales_logits else self.model.base_model, inputs, positions, routes)
        added = self.routing.add(read.router_logits, targets, weights) if routes else 0.0
        targets, weights = targets.flatten(), weights.flatten()
        if self.scales_logits:
            losses = nn.functional.cross_entropy(
                read.logits.float().flatten(0, 1), targets, ignore_index=-1, reduction="none"
            )
            return (losses * weights).sum() + added, losses.detach(), torch.zeros_like(losses)
        hidden = read.last_hidden_state.flatten(0, 1)
        if choose is not None:
            with torch.no_grad():
                weights = choose(fused_cross_entropy(hidden, *self.head(), targets, weights, self.softcap)[1])
        total, losses, divergences = fused_cross_entropy(hidden, *self.head(), targets, weights, self.softcap, teacher)
        return total + added, losses, divergences

    def _read(self, model: PreTrainedModel, inputs: torch.Tensor, positions: torch.Tensor, routes: bool = False) -> Any:
        more = {"position_ids": positions} if self.takes_positions else {}
        if routes:
            more["output_router_logits"] = True
        with told(positions if self.tells_masks else None):
            return model(input_ids=inputs, use_cache=False, **more)

    def head(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The output matrix and its bias. Sharded ones are whole within a pass, and after one without gradients."""
        head = self.model.get_output_embeddings()
        return head.weight, head.bias

    def embeddings(self) -> set[nn.Parameter]:
        return _embeddings(self.model)

    def num_rows(self) -> int:
        """Of the embedding."""
        try:
            return self.model.get_input_embeddings().weight.shape[0]
        except NotImplementedError:
            return self.model.config.get_text_config().vocab_size

    def trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.named_parameters() if p.requires_grad}


def load_frozen(job: dict[str, Any], folder: str, ranks: Ranks) -> TrainedModel:
    """A model that is only read, in the precision of the passes."""
    plain = {key: value for key, value in job.items() if key not in ("lora", "freeze", "routers")}
    dtype = torch.bfloat16 if job["precision"] == "bf16" else torch.float32
    return load_model({**plain, "model": folder}, ranks, dtype=dtype).requires_grad_(False).eval()


def load_model(
    job: dict[str, Any], ranks: Ranks, recompute: str = "none", dtype: torch.dtype = torch.float32
) -> TrainedModel:
    """`recompute`: one of RECOMPUTE. Weights as f32; with precision bf16 they are rounded for each pass, and gradients are summed in f32."""
    folder = job["model"]
    with agreed(ranks):
        config = config_of(folder)
        _check(config, job, folder)
        options = {"attn_implementation": _attention(config, folder, ranks), "dtype": dtype}
        with torch.device("meta"):
            empty = made(config, folder, **options)
        _choose_trained(empty, job)
        model = TrainedModel(empty, job)
    if ranks.world > 1 or job["precision"] == "bf16":
        _shard(model, ranks, job["precision"])
    model.to_empty(device=ranks.device)
    empty.tie_weights()
    load_weights(empty, folder, ranks)
    fill_buffers(empty, folder, options, ranks)
    if lora := job.get("lora"):
        begin(empty, job["seed"], stored_names(empty, folder))
        if "from" in lora:
            with agreed(ranks):
                read_adapters(empty, Path(lora["from"]))
    _without_dropout(model.model)
    run_again(model.model, recompute)
    model.warnings = look_at(model, job["precision"], ranks.device)
    model.train()
    if ranks.uses_gpu:
        # One for passes with gradients and without, sequences with borders and without, each kind of layer and each length of sequences: beyond
        # the usual 8 nothing more would be compiled.
        torch._dynamo.config.recompile_limit = 64
        for block in _blocks(model.model).values():
            block.compile()
    return model


def _attention(config: Any, folder: str, ranks: Ranks) -> str:
    """The fastest that the model's code has."""
    # PyTorch's own attention has no soft cap, and transformers would leave it out.
    has_cap = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    for name in ["flex_attention"] if ranks.uses_gpu else [] if has_cap else ["sdpa"]:
        with contextlib.suppress(ConfigError), torch.device("meta"):
            made(config, folder, attn_implementation=name)
            return name
    return "eager"


def _check(config: Any, job: dict[str, Any], folder: str) -> None:
    text = config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None)
    seq_len = max([job["batch"]["seqLen"], *(p["batch"]["seqLen"] for p in job["phases"] if "batch" in p)])
    if longest is not None and seq_len > longest:
        raise ConfigError(
            f"{folder}: this model reads {longest} tokens, the job has sequences of {seq_len}. Lower training.seqLen."
        )


def _blocks(model: PreTrainedModel) -> dict[str, nn.Module]:
    names = set(model._no_split_modules or [])
    found = {name: m for name, m in model.named_modules() if type(m).__name__.removeprefix("FSDP") in names}
    if not found:
        # Some families do not say: the longest list of modules is that of the layers.
        lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList)]
        name, layers = max(lists, key=lambda item: len(item[1]), default=("", nn.ModuleList()))
        found = {f"{name}.{i}": layer for i, layer in enumerate(layers)}
    # Some name parts of blocks as well.
    return {name: m for name, m in found.items() if not any(name.startswith(f"{other}.") for other in found)}


def _embeddings(model: PreTrainedModel) -> set[nn.Parameter]:
    """Tables of tokens and positions, and the output matrix."""
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    return {module.weight for module in [*tables, model.get_output_embeddings()]}


def _choose_trained(model: PreTrainedModel, job: dict[str, Any]) -> None:
    """Puts adapters in and freezes what is not trained."""
    if lora := job.get("lora"):
        trained = _embeddings(model) if lora["embeddings"] else set()
        add_adapters(_blocks(model), lora)
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(is_of_adapter(name) or parameter in trained)
    _freeze(model, job.get("freeze", []), job["model"])
    if job["precision"] == "bf16":
        for parameter in model.parameters():
            if not parameter.requires_grad:
                # Needs no f32 master.
                parameter.data = parameter.data.bfloat16()


def stored_names(model: PreTrainedModel, folder: str) -> Callable[[str], str]:
    """What a tensor is called in the model's folder, by its name in transformers: OpenAI's GPT-2 lacks the prefix."""
    stored = stored_tensors(folder).keys()
    prefix = f"{model.base_model_prefix}."

    def stored_name(name: str) -> str:
        return name if name in stored or name.removeprefix(prefix) not in stored else name.removeprefix(prefix)

    return stored_name


def _shard(model: TrainedModel, ranks: Ranks, precision: str) -> None:
    mesh = init_device_mesh(ranks.device.type, (ranks.world,))
    policy = MixedPrecisionPolicy()
    if precision == "bf16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for block in _blocks(model.model).values():
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    if has_own_code(model.model):
        # It may run only the experts that were chosen: what one rank has no gradient of, another one has.
        model.set_reduce_scatter_unused_params(True)


def _without_dropout(model: PreTrainedModel) -> None:
    """Text is read once or a few times: nothing is to be regularised, and both engines compute the same."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            # attention_dropout, layerdrop, resid_pdrop, ...: families drop out in functions, too.
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _freeze(model: PreTrainedModel, patterns: list[str], folder: str) -> None:
    """As src/nn/freeze.ts reads them: the last pattern that fits decides, a leading ! takes back."""
    if not patterns:
        return
    rules = [(not p.startswith("!"), re.compile(_to_regexp(p.removeprefix("!")) + r"(\..*)?$")) for p in patterns]
    stored, stored_name = stored_tensors(folder), stored_names(model, folder)

    def parts(name: str, parameter: nn.Parameter) -> list[str]:
        if (whole := stored_name(name)) in stored or is_of_adapter(name):
            return [whole]
        # Experts that are stored one by one.
        return list(revert_weight_conversion(model, {name: torch.empty(parameter.shape, device="meta")}))

    parameters = [(parameter, parts(name, parameter)) for name, parameter in model.named_parameters()]
    names = [name for _, of_one in parameters for name in of_one]

    def is_frozen(name: str) -> bool:
        fitting = [freezes for freezes, pattern in rules if pattern.match(name)]
        return bool(fitting and fitting[-1])

    for given, (_, pattern) in zip(patterns, rules, strict=True):
        if not any(pattern.match(name) for name in names):
            raise ConfigError(f'training.freeze: no tensor of this model fits "{given}"; one is {min(names)}.')
    for parameter, of_one in parameters:
        frozen = [name for name in of_one if is_frozen(name)]
        if 0 < len(frozen) < len(of_one):
            other = next(name for name in of_one if name not in frozen)
            raise ConfigError(
                f"training.freeze: {frozen[0]} is to be frozen and {other} is not, but transformers keeps them as one. "
                "Freeze the experts of a layer alike, or take engine: native."
            )
        if frozen:
            parameter.requires_grad_(False)


def _to_regexp(pattern: str) -> str:
    def part(match: re.Match[str]) -> str:
        text = match.group()
        if text == "*":
            return ".*"
        if match.group(1) is not None:
            return "(?:" + "|".join(str(n) for n in range(int(match.group(1)), int(match.group(2)) + 1)) + ")"
        if match.group(3) is not None:
            return "(?:" + "|".join(re.escape(word) for word in match.group(3).split(",")) + ")"
        return re.escape(text)

    return re.sub(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*)\}|\*|[^*{}]+|[{}]", part, pattern)


def source_config(job: dict[str, Any]) -> dict[str, Any]:
    """config.json of the model that the run began with."""
    return json.loads((Path(job["model"]) / "config.json").read_text())
