"""Checkpoints by Megatron-Bridge. `python convert.py import`: model/ -> megatron/; `python convert.py export`: checkpoints/ -> trained/."""

import sys

import torch
from megatron.bridge import AutoBridge

if sys.argv[1:] == ["import"]:
    AutoBridge.import_ckpt("model", "megatron", torch_dtype=torch.bfloat16)
elif sys.argv[1:] == ["export"]:
    AutoBridge.from_hf_pretrained("model").export_ckpt("checkpoints", "trained")
else:
    sys.exit(__doc__)
