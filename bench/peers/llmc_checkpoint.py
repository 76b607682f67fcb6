"""Writes a GPT-2 Hugging Face folder as llm.c's checkpoint: 256 int32 of header (magic, version 3 = f32, sizes), then all weights of each
kind, layer after layer, matrices [outputs, inputs], the vocabulary padded with zeros to a multiple of 128.

Usage: python llmc_checkpoint.py FOLDER OUT.bin. Format: gpt2_build_from_checkpoint and fill_in_parameter_sizes in llm.c's train_gpt2.c.
"""

import json
import os
import sys

import numpy as np
from safetensors.torch import load_file

MAGIC, VERSION = 20240326, 3
folder, out = sys.argv[1:]
with open(os.path.join(folder, "config.json")) as f:
    config = json.load(f)
tensors = {name.removeprefix("transformer."): t for name, t in load_file(f"{folder}/model.safetensors").items()}
layers, vocab, hidden = config["n_layer"], config["vocab_size"], config["n_embd"]
padded = -(-vocab // 128) * 128
header = np.zeros(256, np.int32)
header[:8] = [MAGIC, VERSION, config["n_positions"], vocab, layers, config["n_head"], hidden, padded]


def plain(name):
    return [tensors[name].float().numpy()]


def stacked(name, transpose=False):
    for layer in range(layers):
        values = tensors[f"h.{layer}.{name}"].float().numpy()
        yield np.ascontiguousarray(values.T) if transpose else values


with open(f"{out}.part", "wb") as f:
    header.tofile(f)
    for values in (
        plain("wte.weight"),
        [np.zeros((padded - vocab, hidden), np.float32)],
        plain("wpe.weight"),
        stacked("ln_1.weight"),
        stacked("ln_1.bias"),
        stacked("attn.c_attn.weight", transpose=True),
        stacked("attn.c_attn.bias"),
        stacked("attn.c_proj.weight", transpose=True),
        stacked("attn.c_proj.bias"),
        stacked("ln_2.weight"),
        stacked("ln_2.bias"),
        stacked("mlp.c_fc.weight", transpose=True),
        stacked("mlp.c_fc.bias"),
        stacked("mlp.c_proj.weight", transpose=True),
        stacked("mlp.c_proj.bias"),
        plain("ln_f.weight"),
        plain("ln_f.bias"),
    ):
        for part in values:
            part.tofile(f)
os.rename(f"{out}.part", out)
