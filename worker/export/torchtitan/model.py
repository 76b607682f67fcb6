"""Llama's and Qwen3's decoders by their sizes, as torchtitan 0.3 describes models; weights come from the Hugging Face folder."""

from functools import partial
from typing import Any

import torch.nn as nn
from torchtitan.distributed.pipeline_parallel import pipeline_llm
from torchtitan.models.common import ComplexRoPE, CosSinRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.config_utils import get_attention_config, make_ffn_config, make_gqa_config
from torchtitan.models.common.param_init import skip_param_init
from torchtitan.models.llama3 import parallelize_llama
from torchtitan.models.llama3.model import Llama3Model, Llama3TransformerBlock
from torchtitan.models.llama3.state_dict_adapter import Llama3StateDictAdapter
from torchtitan.models.qwen3 import parallelize_qwen3
from torchtitan.models.qwen3.model import Qwen3Model, Qwen3TransformerBlock
from torchtitan.models.qwen3.state_dict_adapter import Qwen3StateDictAdapter
from torchtitan.protocols.model_spec import ModelSpec

# Overwritten by the checkpoint.
INIT = {"weight": partial(nn.init.normal_, std=0.02), "bias": nn.init.zeros_}
NORM_INIT = {"weight": nn.init.ones_}


def decoder(
    *,
    family: str,
    vocab_size: int,
    dim: int,
    n_layers: int,
    n_heads: int,
    n_kv_heads: int,
    head_dim: int,
    hidden_dim: int,
    norm_eps: float,
    tied: bool,
    rope: dict[str, Any],
    attention: str = "flex",
) -> ModelSpec:
    """`family` is llama or qwen3; `rope` has the fields of torchtitan's RoPE.Config; `attention` is flex, flex_flash or varlen."""
    qwen3 = family == "qwen3"
    norm = lambda size: RMSNorm.Config(normalized_shape=size, eps=norm_eps, param_init=NORM_INIT)
    block, model = (Qwen3TransformerBlock, Qwen3Model) if qwen3 else (Llama3TransformerBlock, Llama3Model)
    rope_config = (CosSinRoPE if qwen3 else ComplexRoPE).Config(dim=head_dim, **rope)
    layer = lambda: block.Config(
        attention_norm=norm(dim),
        ffn_norm=norm(dim),
        attention=make_gqa_config(
            dim=dim,
            n_heads=n_heads,
            n_kv_heads=n_kv_heads,
            head_dim=head_dim,
            wqkv_param_init=INIT,
            wo_param_init=INIT,
            inner_attention=get_attention_config(attention),
            rope=rope_config,
            fuse_qkv=True,
            qk_norm=norm(head_dim) if qwen3 else None,
        ),
        feed_forward=make_ffn_config(dim=dim, hidden_dim=hidden_dim, w1_param_init=INIT, w2w3_param_init=INIT),
    )
    embedding_init = {"weight": skip_param_init} if tied else INIT
    return ModelSpec(
        name=family if qwen3 else "llama3",
        flavor="continuo",
        model=model.Config(
            dim=dim,
            vocab_size=vocab_size,
            enable_weight_tying=tied,
            tok_embeddings=Embedding.Config(num_embeddings=vocab_size, embedding_dim=dim, param_init=embedding_init),
            norm=norm(dim),
            lm_head=Linear.Config(in_features=dim, out_features=vocab_size, param_init=INIT),
            layers=[layer() for _ in range(n_layers)],
        ),
        parallelize_fn=parallelize_qwen3 if qwen3 else parallelize_llama,
        pipelining_fn=pipeline_llm,
        post_optimizer_build_fn=None,
        state_dict_adapter=Qwen3StateDictAdapter if qwen3 else Llama3StateDictAdapter,
    )
