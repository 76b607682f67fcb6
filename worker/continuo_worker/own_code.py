"""Which class a model is of, and the code that comes with some models (auto_map in config.json): it is run only where the user has said so
(engine.torch.trustRemoteCode)."""

import json
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import transformers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from .errors import ConfigError
from .ranks import Ranks


class _Consent:
    is_given = False


def trust_own_code() -> None:
    """For this process."""
    _Consent.is_given = True


def has_own_code(model: PreTrainedModel) -> bool:
    return type(model).__module__.startswith("transformers_modules.")


def config_of(folder: str) -> Any:
    """@raises ConfigError where transformers does not know the model and its own code may not be run, or cannot"""
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=_Consent.is_given)
    # What a model's own code does wrong can be anything.
    except Exception as error:
        raise _refusal(folder, error) from None


def made(config: Any, folder: str, **options: Any) -> PreTrainedModel:
    """A model as its class makes it. @raises ConfigError also where it has no such attention"""
    try:
        return AutoModelForCausalLM.from_config(config, trust_remote_code=_Consent.is_given, **options)
    except Exception as error:
        raise _refusal(folder, error) from None


def _refusal(folder: str, error: Exception) -> ConfigError:
    data = json.loads((Path(folder) / "config.json").read_text())
    kind, own = data.get("model_type"), data.get("auto_map", {})
    if own and not _Consent.is_given:
        files = sorted({f"{str(name).split('--')[-1].split('.')[0]}.py" for name in own.values() if isinstance(name, str)})
        return ConfigError(
            f'{folder}: transformers does not know model_type "{kind}" as a causal language model, and the code that came with it '
            f"({', '.join(files)}) is not run without consent. Read it; if you trust it, set engine: {{ torch: {{ trustRemoteCode: true }} }}: "
            "it is then run on every machine of the run, with all that your user may do there."
        )
    reason = str(error).strip().split("\n")[0]
    if own:
        return ConfigError(f"{folder}: its own code cannot be used with transformers {transformers.__version__}: {reason}")
    return ConfigError(
        f'{folder}: transformers {transformers.__version__} does not train model_type "{kind}" as a causal language model ({reason}). '
        "Is it one? A newer transformers may know it (CONTINUO_PYTHON)."
    )


def fill_buffers(model: PreTrainedModel, folder: str, options: dict[str, Any], ranks: Ranks) -> None:
    """
    Sets what is in no file of a model with code of its own, such as frequencies of rotary embeddings: its class is asked for a whole one, on the
    first rank, since only transformers' classes can make them again on a model that began without memory.
    """
    stored = model.state_dict().keys()
    missing = {name: buffer for name, buffer in model.named_buffers() if name not in stored}
    if not missing or not has_own_code(model):
        return
    source: dict[str, torch.Tensor] = {}
    if ranks.is_first:
        source = dict(made(model.config, folder, **options).named_buffers())
    for name, buffer in missing.items():
        value = source[name].to(buffer) if ranks.is_first else torch.empty_like(buffer)
        if ranks.world > 1:
            dist.broadcast(value, src=0)
        buffer.copy_(value)
