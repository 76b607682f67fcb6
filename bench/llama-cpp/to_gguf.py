"""Writes a Hugging Face folder of the Llama family as a BF16 GGUF file with invented words, for programs that are handed token ids.

Norms are F32, as llama.cpp's own converter has them; rows of q and k are reordered, since GGUF rotates neighbouring pairs. Needs the packages
gguf, numpy, torch and safetensors. Usage: python to_gguf.py FOLDER OUT.gguf
"""

import json
import math
import os
import sys

import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType
from safetensors import safe_open

LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOP = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def translate(name):
    base = name.removesuffix(".weight")
    if base in TOP:
        return f"{TOP[base]}.weight"
    _, _, layer, rest = base.split(".", 3)
    return f"blk.{layer}.{LAYER[rest]}.weight"


def interleave(weight, heads):
    """[first halves | second halves] of each head's rows to pairs."""
    rows, cols = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols)


def rope_factors(rope, head_dim):
    """Llama 3.1's scaling as divisors of the frequencies, one a pair."""
    factor, low, high = rope["factor"], rope["low_freq_factor"], rope["high_freq_factor"]
    context = rope["original_max_position_embeddings"]
    for i in range(head_dim // 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (2 * i / head_dim)
        if wavelength < context / high:
            yield 1.0
        elif wavelength > context / low:
            yield factor
        else:
            smooth = (context / wavelength - low) / (high - low)
            yield 1 / ((1 - smooth) / factor + smooth)


def convert(folder, target):
    with open(os.path.join(folder, "config.json")) as f:
        config = json.load(f)
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    rope = config.get("rope_parameters") or {"rope_theta": config["rope_theta"], "rope_type": "default"}
    writer = GGUFWriter(f"{target}.part", "llama")
    writer.add_file_type(LlamaFileType.MOSTLY_BF16)
    # llama.cpp insists on a tokenizer: the bytes, then a word for each id.
    vocab = config["vocab_size"]
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<0x{i:02X}>" for i in range(256)] + [f"word{i}" for i in range(256, vocab)])
    writer.add_token_types([TokenType.BYTE] * 256 + [TokenType.NORMAL] * (vocab - 256))
    writer.add_token_scores([0.0] * vocab)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_rope_dimension_count(head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", np.array(list(rope_factors(rope, head_dim)), np.float32))
    with safe_open(os.path.join(folder, "model.safetensors"), "pt") as tensors:
        for name in tensors.keys():
            weight = tensors.get_tensor(name)
            if ".q_proj." in name or ".k_proj." in name:
                weight = interleave(weight, heads if ".q_proj." in name else kv_heads).contiguous()
            if weight.dim() == 1:
                writer.add_tensor(translate(name), weight.float().numpy())
            else:
                bytes_ = weight.view(torch.uint8).numpy()
                writer.add_tensor(translate(name), bytes_, raw_dtype=GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.rename(f"{target}.part", target)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    convert(sys.argv[1], sys.argv[2])
