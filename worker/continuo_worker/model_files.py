"""The model's weights as safetensors files of bounded size, named as transformers names them. Tensors are gathered from the ranks one by
one, and ranks share the files: none holds more of the whole model than one tensor and the files that it writes."""

import json
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion
from transformers.modeling_utils import remove_tied_weights_from_state_dict
from transformers.pytorch_utils import Conv1D

from .adapters import adapted, is_of_adapter, merged
from .ranks import Ranks

# The size that hubs and tools are used to. One tensor that is larger has a file of its own.
MAX_FILE_BYTES = 5 * 10**9
INDEX = "model.safetensors.index.json"
DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Group:
    """Tensors of the model that become tensors of a file together: one into itself, unless transformers stores them in another form."""

    sources: list[str]
    # On no device: names, shapes and types alone.
    stored: Tensors

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.stored.values())


class ModelFiles:
    def __init__(
        self, model: PreTrainedModel, ranks: Ranks, dtype: torch.dtype, max_file_bytes: int = MAX_FILE_BYTES
    ) -> None:
        self._model = model
        self._ranks = ranks
        self._dtype = dtype
        self._files = _split(_groups(model, self._described()), max_file_bytes)
        count = len(self._files)
        self.names = (
            ["model.safetensors"] if count == 1 else [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
        )
        self.num_bytes = sum(group.num_bytes for file in self._files for group in file)

    def _described(self) -> Tensors:
        """What is saved of the model, as tensors on no device; of tied weights the one that is read back."""
        described = {
            name: torch.empty(value.shape, dtype=self._stored_dtype(value), device="meta")
            for name, value in self._model.state_dict().items()
            if not is_of_adapter(name) and name not in (self._model._keys_to_ignore_on_save or ())
        }
        return remove_tied_weights_from_state_dict(described, self._model)

    def _stored_dtype(self, value: torch.Tensor) -> torch.dtype:
        return self._dtype if value.is_floating_point() else value.dtype

    def rounds(self, whole: bool = False) -> Iterator[list[tuple[str, Tensors]]]:
        """
        In main memory the files that this rank is to write, one a round, or with `whole` all of them in a single round. Copies.
        Collective: every rank has to go through to the end.
        """
        state, adapters = self._model.state_dict(), adapted(self._model)
        count, world = len(self._files), self._ranks.world
        size = count if whole else world
        for first in range(0, count, size):
            own = []
            for number in range(first, min(count, first + size)):
                is_own = number % world == self._ranks.rank
                tensors = {}
                for group in self._files[number]:
                    gathered = {}
                    for name in group.sources:
                        value = self._gather(name, state[name], adapters)
                        if is_own:
                            gathered[name] = value.to("cpu", copy=True)
                        del value
                    if is_own:
                        tensors.update(revert_weight_conversion(self._model, gathered))
                self._ranks.beat("a checkpoint")
                if is_own:
                    own.append((self.names[number], tensors))
            yield own

    @torch.no_grad()
    def _gather(self, name: str, value: torch.Tensor, adapters: dict) -> torch.Tensor:
        """With its adapter merged in, rounded once."""
        module = name.removesuffix(".weight")
        if module not in adapters:
            return full(value.to(self._stored_dtype(value)))
        linear, adapter = adapters[module]
        factors = {kind: full(p) for kind, p in adapter.named_parameters()}
        return merged(full(value), factors, adapter, isinstance(linear, Conv1D)).to(self._dtype)

    def write_index(self, folder: Path) -> None:
        """Which tensor is in which file, where there are several."""
        if len(self.names) == 1:
            return
        weight_map = {
            tensor: name
            for name, file in zip(self.names, self._files, strict=True)
            for group in file
            for tensor in group.stored
        }
        index = {"metadata": {"total_size": self.num_bytes}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def full(value: torch.Tensor) -> torch.Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach()


def _groups(model: PreTrainedModel, described: Tensors) -> list[Group]:
    """
    Each tensor by itself where transformers' conversions on saving allow it (renaming; experts taken apart); where they need several (parts put
    together), those of a block.
    """
    together = _shapes(revert_weight_conversion(model, dict(described)))
    for keys in ([[name] for name in described], _by_block(described)):
        groups = []
        for sources in keys:
            try:
                stored = revert_weight_conversion(model, {name: described[name] for name in sources})
            except Exception:
                # A conversion that misses a part: transformers raises what it happens to meet first.
                break
            groups.append(Group(sources, stored))
        else:
            if _shapes({name: t for group in groups for name, t in group.stored.items()}) == together:
                return groups
    return [Group(list(described), revert_weight_conversion(model, dict(described)))]


def _shapes(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _by_block(described: Tensors) -> list[list[str]]:
    blocks: dict[str, list[str]] = {}
    for name in described:
        parts = name.split(".")
        number = next((i for i, part in enumerate(parts) if part.isdigit()), None)
        key = name if number is None else ".".join(parts[: number + 1])
        blocks.setdefault(key, []).append(name)
    return list(blocks.values())


def _split(groups: list[Group], max_bytes: int) -> list[list[Group]]:
    files: list[list[Group]] = [[]]
    filled = 0
    for group in groups:
        if files[-1] and filled + group.num_bytes > max_bytes:
            files.append([])
            filled = 0
        files[-1].append(group)
        filled += group.num_bytes
    return files


def write_safetensors(file: Path, tensors: Tensors) -> None:
    """
    A tensor at a time, by plain writes: other threads go on meanwhile, which the package safetensors' own writer prevents, and a full disk is an
    OSError. Wider types first, so that each tensor is aligned.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with file.open("wb", buffering=0) as out:
        for piece in (struct.pack("<Q", len(text)), text, *(_bytes_of(tensor) for _, tensor in ordered)):
            view = memoryview(piece)
            while view:
                view = view[out.write(view) :]
        os.fsync(out.fileno())


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
