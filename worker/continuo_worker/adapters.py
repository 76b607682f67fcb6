"""Low-rank adapters beside frozen matrices: LoRA, rsLoRA, DoRA (docs/guards.md). The matrices keep their names and values; an adapter is a
module inside the matrix' own, so that FSDP shards both. Read and written in PEFT's format."""

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset
from transformers.pytorch_utils import Conv1D

from . import rng
from .errors import ConfigError, DataError

CHILD = "adapter"
PEFT_FACTOR = re.compile(r"(.+)\.lora_(A|B|magnitude_vector)(?:\.default)?(?:\.weight)?")


class Adapter(nn.Module):
    """scale * B A beside a matrix [outputs, inputs]; with DoRA, `longer` is what the rows' lengths grew by, which stays exact in bf16."""

    squares: torch.Tensor

    def __init__(self, linear: nn.Module, settings: dict[str, Any]) -> None:
        super().__init__()
        weight = matrix_of(linear)
        (outputs, inputs), rank = weight.shape, settings["rank"]
        zeros = partial(torch.zeros, device=weight.device, dtype=torch.float32)
        self.scale = settings["alpha"] / (math.sqrt(rank) if settings["rsLora"] else rank)
        self.is_on = True
        self.a = nn.Parameter(zeros(rank, inputs))
        self.b = nn.Parameter(zeros(outputs, rank))
        self.longer: nn.Parameter | None = None
        if settings.get("dora"):
            self.longer = nn.Parameter(zeros(outputs))
            # |W|^2 of each row, once W is there.
            self.register_buffer("squares", zeros(outputs), persistent=False)

    def forward(self, x: torch.Tensor, linear: nn.Module) -> torch.Tensor:
        if self.longer is None:
            return type(linear).forward(linear, x) + self._low(x)
        weight = matrix_of(linear)
        directed = nn.functional.linear(x, weight) + self._low(x)
        norms = self._norms(weight)
        # A row of zeros has no direction: it stays.
        factors = torch.where(norms > 0, (self.squares.sqrt() + self.longer) / norms.clamp(min=1e-30), 1.0)
        out = (directed * factors).to(directed.dtype)
        return out if linear.bias is None else out + linear.bias

    def _low(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.a.T * self.scale) @ self.b.T

    @torch.no_grad()
    def _norms(self, weight: torch.Tensor) -> torch.Tensor:
        """|W + scale B A| of each row, from products as wide as the rank. No gradient passes (Liu et al. 2024, section 4.3)."""
        a, b = self.a.float(), self.b.float()
        products = 2 * self.scale * (weight @ self.a.T).float() + self.scale**2 * (b @ (a @ a.T))
        return (self.squares + (b * products).sum(1)).clamp(min=0).sqrt()


def matrix_of(linear: nn.Module) -> torch.Tensor:
    """[outputs, inputs], however the module stores it."""
    return linear.weight.T if isinstance(linear, Conv1D) else linear.weight


def add_adapters(blocks: dict[str, nn.Module], settings: dict[str, Any]) -> None:
    """Beside the matrices of the layers that the settings name, or all. @raises ConfigError for a name that no layer has"""
    found = {
        f"{block}.{name}": module
        for block, layer in blocks.items()
        for name, module in layer.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
    }
    targets = settings.get("targets")
    known = sorted({_last(name) for name in found})
    for target in targets or []:
        if target not in known:
            raise ConfigError(
                f'training.lora.targets: this model has no matrix "{target}"; expected some of {", ".join(known)}.'
            )
    for name, linear in found.items():
        if targets is None or _last(name) in targets:
            linear.add_module(CHILD, Adapter(linear, settings))
            linear.forward = partial(_forward, linear)


def _forward(linear: nn.Module, x: torch.Tensor) -> torch.Tensor:
    adapter = linear.adapter
    return adapter(x, linear) if adapter.is_on else type(linear).forward(linear, x)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def adapted(model: nn.Module) -> dict[str, tuple[nn.Module, Adapter]]:
    """By the names of the matrices' modules."""
    return {
        name: (module, module.adapter)
        for name, module in model.named_modules()
        if isinstance(getattr(module, CHILD, None), Adapter)
    }


def is_of_adapter(name: str) -> bool:
    return f".{CHILD}." in name


@torch.no_grad()
def begin(model: nn.Module, seed: int, stored_name: Callable[[str], str]) -> None:
    """Beside matrices that have their values. A as PEFT draws it, uniform up to 1 / sqrt(inputs), with the numbers of src/nn/adapters.ts; B is zero."""
    for name, (linear, adapter) in adapted(model).items():
        bound = 1 / math.sqrt(adapter.a.shape[1])
        module = stored_name(f"{name}.weight").removesuffix(".weight")
        values = rng.floats(adapter.a.numel(), seed, module, "lora_A")
        put(adapter.a, torch.from_numpy((2 * values - 1) * bound).view(adapter.a.shape))
        adapter.b.zero_()
        if adapter.longer is not None:
            adapter.longer.zero_()
            squares = matrix_of(linear).detach().float().square().sum(1)
            adapter.squares.copy_(squares.full_tensor() if isinstance(squares, DTensor) else squares)


@torch.no_grad()
def put(parameter: torch.Tensor, value: Any) -> None:
    """Sets this rank's rows of a parameter to those of a whole value, which is a tensor or one in a file."""
    if not isinstance(parameter, DTensor):
        parameter.copy_(value[...])
        return
    shape, offset = compute_local_shape_and_global_offset(parameter.shape, parameter.device_mesh, parameter.placements)
    # A rank may have nothing of a small tensor.
    if shape[0]:
        parameter.to_local().copy_(value[offset[0] : offset[0] + shape[0]])


@torch.no_grad()
def read_adapters(model: nn.Module, folder: Path) -> None:
    """Sets the adapters, and what is trained whole beside them, to those of PEFT's folder. @raises ConfigError where it adapts other modules"""
    known, missing = adapted(model), set(adapted(model))
    whole = {name: p for name, p in model.named_parameters() if p.requires_grad and not is_of_adapter(name)}
    file = folder / "adapter_model.safetensors"
    try:
        tensors = safe_open(file, "pt")
    except (OSError, SafetensorError) as error:
        raise DataError(file, f"is missing, cut off or damaged ({error}).") from None
    for key in tensors.keys():
        # The base's own wrappers, and PEFT's around modules that are saved whole.
        name = re.sub(r"\.(base_layer|modules_to_save(\.default)?)(?=\.)", "", key.removeprefix("base_model.model."))
        match = PEFT_FACTOR.fullmatch(name)
        if match is None:
            if name in whole:
                value = tensors.get_slice(key)
                if value.get_shape() != list(whole[name].shape):
                    raise ConfigError(
                        f"training.lora.from: {folder}: {key}: expected {list(whole[name].shape)}, found {value.get_shape()}."
                    )
                put(whole[name], value)
            continue
        if match[1] not in known:
            raise ConfigError(
                f"training.lora.from: {folder} adapts {match[1]}, which is not adapted here. "
                "Merge it instead (continuo adapter merge)."
            )
        missing.discard(match[1])
        adapter = known[match[1]][1]
        into = {"A": adapter.a, "B": adapter.b, "magnitude_vector": adapter.longer}[match[2]]
        value = tensors.get_tensor(key)
        if into is None or into.numel() != value.numel():
            expected = "none" if into is None else list(into.shape)
            raise ConfigError(f"training.lora.from: {folder}: {key}: expected {expected}, found {list(value.shape)}.")
        value = value.float().view(into.shape)
        put(into, value - adapter.squares.sqrt().to(value.device) if into is adapter.longer else value)
    if missing:
        raise ConfigError(f"training.lora.from: {folder}: expected an adapter of {min(missing)}, found none.")


def merged(
    weight: torch.Tensor, factors: dict[str, torch.Tensor], adapter: Adapter, is_transposed: bool
) -> torch.Tensor:
    """W + scale B A in f32, its rows brought to their lengths with DoRA; all tensors whole, `weight` as the model stores it."""
    base = weight.float().T if is_transposed else weight.float()
    result = base + adapter.scale * (factors["b"] @ factors["a"])
    if "longer" in factors:
        norms = result.norm(dim=1)
        lengths = adapter.squares.sqrt() + factors["longer"]
        result = result * torch.where(norms > 0, lengths / norms.clamp(min=1e-30), 1.0).unsqueeze(1)
    return result.T.contiguous() if is_transposed else result


def write_peft(
    folder: Path,
    model: nn.Module,
    factors: dict[str, dict[str, torch.Tensor]],
    whole: dict[str, torch.Tensor],
    settings: dict[str, Any],
    base: str,
) -> None:
    """adapter_config.json and adapter_model.safetensors, f32. `factors` by module; `whole`: what was trained in full, a tied table by both names."""
    modules = adapted(model)
    tensors = {f"base_model.model.{name}": value for name, value in whole.items()}
    for name, parts in factors.items():
        at = f"base_model.model.{name}"
        tensors[f"{at}.lora_A.weight"], tensors[f"{at}.lora_B.weight"] = parts["a"], parts["b"]
        if "longer" in parts:
            tensors[f"{at}.lora_magnitude_vector"] = modules[name][1].squares.sqrt().cpu() + parts["longer"]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": settings["rank"],
        "lora_alpha": settings["alpha"],
        "lora_dropout": 0,
        "use_rslora": settings["rsLora"],
        "use_dora": settings.get("dora", False),
        "target_modules": sorted({_last(name) for name in factors}),
        **({"modules_to_save": [_last(name.removesuffix(".weight")) for name in whole]} if whole else {}),
        "fan_in_fan_out": any(isinstance(linear, Conv1D) for linear, _ in modules.values()),
        "bias": "none",
        "inference_mode": True,
    }
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    copies = {name: value.float().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}
    save_file(copies, folder / "adapter_model.safetensors")


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """The model as it came."""
    adapters = [adapter for _, adapter in adapted(model).values()]
    for adapter in adapters:
        adapter.is_on = False
    try:
        yield
    finally:
        for adapter in adapters:
            adapter.is_on = True
