"""Writes a Hugging Face folder with random bf16 weights. Usage: python make_model.py CONFIG_JSON FOLDER

Biases and norms are random too (transformers begins with zeros and ones), so that comparing losses would notice a lost one. No dropout, no
tokenizer beyond the bytes: programs that are compared are handed token ids.
"""

import json
import os
import shutil
import sys

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()
raw, folder = json.loads(sys.argv[1]), sys.argv[2]
fields = {key: value for key, value in raw.items() if key not in ("model_type", "torch_dtype", "continuo")}
torch.manual_seed(1)
model = AutoModelForCausalLM.from_config(AutoConfig.for_model(raw["model_type"], **fields), dtype=torch.bfloat16)
with torch.no_grad():
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.add_(torch.randn_like(parameter) * 0.02)
part = f"{folder}.part"
shutil.rmtree(part, ignore_errors=True)
model.save_pretrained(part)
tokenizer = os.path.join(os.path.dirname(__file__), "../../test/fixtures/byte-tokenizer")
for name in ("tokenizer.json", "tokenizer_config.json"):
    shutil.copy(os.path.join(tokenizer, name), part)
os.rename(part, folder)
