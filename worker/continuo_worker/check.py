"""Usage: python -m continuo_worker.check. Prints as JSON what this environment can do."""

import json
import platform
import sys

import torch
import transformers

from . import PROTOCOL_VERSION

# Of the older ones none was tried.
OLDEST_TRANSFORMERS = 5


def missing() -> list[str]:
    """What the worker needs and these versions lack."""
    lacks = []
    try:
        from torch.distributed.fsdp import FSDPModule, fully_shard  # noqa: F401
        from torch.distributed.run import get_args_parser

        if "--shutdown-timeout" not in get_args_parser().format_help():
            lacks.append("torchrun's --shutdown-timeout")
    except ImportError as error:
        lacks.append(f"a newer torch ({error})")
    if int(transformers.__version__.split(".")[0]) < OLDEST_TRANSFORMERS:
        lacks.append(f"transformers {OLDEST_TRANSFORMERS} or newer")
    return lacks


def report() -> dict[str, object]:
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return {
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "missing": missing(),
        "cuda": torch.version.cuda,
        "rocm": torch.version.hip,
        "mps": torch.backends.mps.is_available(),
        "gpus": [
            {"name": gpu.name, "memoryBytes": gpu.total_memory, "bf16": torch.cuda.is_bf16_supported()} for gpu in gpus
        ],
    }


if __name__ == "__main__":
    json.dump(report(), sys.stdout)
    print()
