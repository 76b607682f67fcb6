"""A decoder written as many a model's own code is: no position_ids, no masks of transformers, a table that only __init__ makes."""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, CausalLMOutput

from .configuration_own import OwnConfig


class OwnBlock(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.num_attention_heads
        self.norm = nn.LayerNorm(config.hidden_size)
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)
        self.up = nn.Linear(config.hidden_size, 2 * config.hidden_size)
        self.down = nn.Linear(2 * config.hidden_size, config.hidden_size)
        self.register_buffer("slope", torch.linspace(0.5, 1.5, config.hidden_size), persistent=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm(x) * self.slope).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        read = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(read.transpose(1, 2).reshape(b, t, d))
        return x + self.down(nn.functional.silu(self.up(x)))


class OwnPreTrained(PreTrainedModel):
    config_class = OwnConfig
    base_model_prefix = "body"
    _no_split_modules = ["OwnBlock"]
    _supports_sdpa = True


class OwnModel(OwnPreTrained):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(OwnBlock(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def forward(self, input_ids=None, use_cache=False):
        x = self.embed_tokens(input_ids)
        for layer in self.layers:
            x = layer(x)
        return BaseModelOutput(last_hidden_state=x)


class OwnForCausalLM(OwnPreTrained):
    def __init__(self, config):
        super().__init__(config)
        self.body = OwnModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_input_embeddings(self):
        return self.body.embed_tokens

    def get_output_embeddings(self):
        return self.lm_head

    def forward(self, input_ids=None, use_cache=False):
        return CausalLMOutput(logits=self.lm_head(self.body(input_ids).last_hidden_state))
