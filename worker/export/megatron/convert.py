"""Checkpoints by Megatron-Bridge. `python convert.py import`: model/ -> megatron/; `python convert.py export`: checkpoints/ -> trained/."""

import shutil
import sys
from pathlib import Path


def newest_checkpoint() -> Path:
    """The folder of the last whole checkpoint, with the description of the model that Bridge asks for."""
    tracker = Path("checkpoints/latest_checkpointed_iteration.txt")
    if not tracker.exists():
        sys.exit(f"{tracker} is missing: nothing has been trained in this folder yet.")
    newest = tracker.parent / f"iter_{int(tracker.read_text()):07d}"
    described = sorted(Path("megatron").glob("iter_*/run_config.yaml"))
    if not described:
        sys.exit("megatron/iter_*/run_config.yaml is missing: run `python convert.py import` first.")
    # Megatron-LM writes none. Without it Bridge takes the model for one of unknown type, and export_ckpt cannot tell it which.
    shutil.copyfile(described[-1], newest / "run_config.yaml")
    return newest


def main() -> None:
    if sys.argv[1:] not in (["import"], ["export"]):
        sys.exit(__doc__)
    newest = newest_checkpoint() if sys.argv[1] == "export" else None
    import torch
    from megatron.bridge import AutoBridge

    if newest is None:
        AutoBridge.import_ckpt("model", "megatron", torch_dtype=torch.bfloat16)
    else:
        AutoBridge.from_hf_pretrained("model").export_ckpt(str(newest), "trained")


if __name__ == "__main__":
    main()
