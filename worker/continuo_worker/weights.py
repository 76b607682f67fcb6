"""Weights out of a model's folder into a model that has none yet. Each rank reads the rows that are its own, a tensor at a time, so that none
holds more than its share of the model and one tensor."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
from transformers.utils.loading_report import LoadStateDictInfo

from .adapters import is_of_adapter, put
from .errors import DataError, UserError
from .ranks import Ranks

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = ("F32", "F16", "BF16", "F64")
OTHER_MODEL = "Are the weights and config.json of one model?"


@dataclass(frozen=True)
class Stored:
    """A tensor in a file."""

    file: Path
    name: str
    shape: list[int]
    dtype: str

    def data(self) -> Any:
        """Read where it is sliced, and out of memory again with the last slice: the file is mapped for this tensor alone."""
        return _open(self.file).get_slice(self.name)

    def error(self, message: str) -> DataError:
        return DataError(self.file, f"tensor {self.name}: {message}")


def stored_tensors(folder: str) -> dict[str, Stored]:
    """By name, none read yet. @raises DataError for a file that is missing, cut off or no safetensors"""
    return {stored.name: stored for file in _files(Path(folder)) for stored in _listed(file)}


def _files(folder: Path) -> list[Path]:
    """As transformers does, the single file where there is one as well."""
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    index = folder / INDEX
    try:
        names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    except FileNotFoundError:
        raise DataError(folder, f"expected {SINGLE}, or {INDEX} and the files that it names.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(index, f"is no index of tensors by file ({error!r}). Fetch the model again.") from None
    if outside := [name for name in names if Path(name).name != name]:
        raise DataError(index, f"names a file outside its folder: {outside[0]}")
    return [folder / name for name in names]


def _listed(file: Path) -> Iterator[Stored]:
    tensors = _open(file)
    for name in tensors.keys():
        data = tensors.get_slice(name)
        yield Stored(file, name, data.get_shape(), data.get_dtype())


def _open(file: Path) -> Any:
    try:
        # Mapped into memory: a slice takes its own pages alone, while plain reading (`pread`) takes the whole tensor first.
        return safe_open(file, "pt")
    except (OSError, SafetensorError) as error:
        raise DataError(file, f"is missing, cut off or damaged ({error}). Fetch the model again.") from None


@contextmanager
def agreed(ranks: Ranks) -> Iterator[None]:
    """Whatever one rank cannot do ends all of them, with the same words: none is left waiting for it."""
    problem = None
    try:
        yield
    except UserError as error:
        problem = (error.kind, str(error))
    for found in ranks.gather(problem):
        if found is not None:
            error = UserError(found[1])
            error.kind = found[0]
            raise error


@dataclass
class _Group:
    """Tensors that become parameters together: one as it is, or some by a conversion of transformers'."""

    sources: list[Stored] = field(default_factory=list)
    converter: WeightConverter | None = None

    def values(self, name: str, model: PreTrainedModel) -> dict[str, Any]:
        """By the names of the parameters."""
        if self.converter is None:
            return {name: self.sources[0].data()}
        try:
            converted = self.converter.convert(name, model=model, config=model.config)
        # Whatever a conversion does not expect: transformers has no errors of its own for it.
        except Exception as error:
            raise self.sources[0].error(
                f"transformers cannot make {name} of it and {len(self.sources) - 1} others ({error}). {OTHER_MODEL}"
            ) from None
        return {target: value[0] if isinstance(value, list) else value for target, value in converted.items()}


def load_weights(model: PreTrainedModel, folder: str, ranks: Ranks) -> None:
    """
    Sets all parameters and buffers but those of adapters. Tensors that transformers converts on loading (experts that are stored one by one) are
    read whole by each rank, those of one parameter at a time; of all others a rank reads its own rows.
    @raises UserError on all ranks, for a tensor that is missing, unknown, misshapen or quantised
    """
    with agreed(ranks):
        slots = {
            name: model.get_parameter_or_buffer(name) for name in model.state_dict() if not is_of_adapter(name)
        }
        groups = _grouped(model, stored_tensors(folder), slots)
        # Of a pair that config.json ties, the one that the other is tied to counts, should both be stored.
        tied = model.all_tied_weights_keys
        filled = set()
        for name, group in groups.items():
            ranks.beat("reading the model")
            if tied.get(name) in groups:
                continue
            for target, value in group.values(name, model).items():
                _fill(slots.get(target), target, value, group)
                filled.add(slots[target])
        info = _info({name for name, slot in slots.items() if slot not in filled}, set())
        model._adjust_missing_and_unexpected_keys(info)
        if info.missing_keys:
            raise DataError(
                Path(folder),
                f"no file has {min(info.missing_keys)}, nor {len(info.missing_keys) - 1} other tensors of a {model.config.model_type} "
                f"as config.json describes it. {OTHER_MODEL}",
            )
        # What is in no file, such as the frequencies of rotary embeddings, follows from the configuration; what was read stays.
        for slot in filled:
            slot._is_hf_initialized = True
        model.initialize_weights()


def _fill(slot: torch.Tensor | None, name: str, value: Any, group: _Group) -> None:
    found = list(value.shape) if isinstance(value, torch.Tensor) else value.get_shape()
    if slot is None or list(slot.shape) != found:
        expected = "no such tensor" if slot is None else list(slot.shape)
        of = "" if group.converter is None else f" for {name}"
        raise group.sources[0].error(f"expected {expected}{of}, found {found}. {OTHER_MODEL}")
    put(slot, value)


def _grouped(model: PreTrainedModel, stored: dict[str, Stored], slots: dict[str, torch.Tensor]) -> dict[str, _Group]:
    """By the name of a parameter, in the order in which a conversion expects its parts (as transformers' own loading does it)."""
    conversions = get_model_conversion_mapping(model)
    renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
    converters = [one for one in conversions if isinstance(one, WeightConverter)]
    by_pattern = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    groups: dict[str, _Group] = {}
    unknown = {}
    for name in sorted(stored, key=dot_natural_key):
        target, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, slots)
        if target not in slots and name in slots:
            target, pattern = name, None
        if target not in slots:
            unknown[target] = stored[name]
            continue
        if slots[target].is_floating_point() and stored[name].dtype not in DTYPES:
            raise stored[name].error(
                f"expected {', '.join(DTYPES)}, found {stored[name].dtype}: quantised weights cannot be trained on. "
                "Take the model that it was made from."
            )
        group = groups.setdefault(target, _Group())
        group.sources.append(stored[name])
        if pattern is not None:
            group.converter = group.converter or deepcopy(by_pattern[pattern])
            group.converter.add_tensor(target, name, pattern, lambda one=stored[name]: one.data()[...])
    info = _info(set(), set(unknown))
    model._adjust_missing_and_unexpected_keys(info)
    if info.unexpected_keys:
        raise unknown[min(info.unexpected_keys)].error(
            f"has no place in a {model.config.model_type} as config.json describes it, nor have {len(info.unexpected_keys) - 1} others: "
            f"training without them would train another model. {OTHER_MODEL}"
        )
    # Saving undoes what loading did.
    model._weight_conversions = [one for one in conversions if one.was_used()]
    return groups


def _info(missing: set[str], unexpected: set[str]) -> LoadStateDictInfo:
    """What transformers' own rules about tensors that may be missing or in excess are asked with."""
    return LoadStateDictInfo(missing, unexpected, set(), [], {}, set())
