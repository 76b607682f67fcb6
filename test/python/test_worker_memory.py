"""What `continuo plan` counts for a GPU of the PyTorch engine, against what FSDP divides and the compiler's partitioner keeps. Needs dist/."""

import json
import subprocess

import pytest
import torch
import torch.nn.functional as F
import transformers as hf
from harness import ROOT
from test_torch_engine import FAMILIES
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore

ROWS = 256
SMOLLM = hf.LlamaConfig(
    vocab_size=49152,
    hidden_size=576,
    intermediate_size=1536,
    num_hidden_layers=4,
    num_attention_heads=9,
    num_key_value_heads=3,
    tie_word_embeddings=True,
)


def counted(config, *shapes: dict) -> list[dict]:
    usual = dict(batch=1, seqLen=ROWS, precision="bf16", ranks=2, recompute=False)
    request = {"config": config.to_dict(), "shapes": [{**usual, **shape} for shape in shapes]}
    command = ["node", str(ROOT / "test/python/worker-memory.mjs"), json.dumps(request)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def mesh():
    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield init_device_mesh("cpu", (2,))
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rank_holds_exactly_what_is_counted(family, mesh):
    with torch.device("meta"):
        model = hf.AutoModelForCausalLM.from_config(FAMILIES[family])
    for module in model.modules():
        if type(module).__name__ in set(model._no_split_modules):
            fully_shard(module, mesh=mesh)
    fully_shard(model, mesh=mesh)
    elements = sum(p.to_local().numel() for p in model.parameters())
    memory = counted(FAMILIES[family], {})[0]
    # f32 weights and gradients, two moments.
    assert [memory[key] for key in ("weightBytes", "gradientBytes", "momentBytes")] == [4 * elements, 4 * elements, 8 * elements]


def attention(module, q, k, v, mask, scaling=None, dropout=0.0, **_):
    """As flex attention: no matrix of scores, keys and values of their own number of heads."""
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scaling, enable_gqa=q.shape[1] != k.shape[1])
    return out.transpose(1, 2).contiguous(), None


def test_a_compiled_block_keeps_what_is_counted():
    config = SMOLLM
    hf.AttentionInterface.register("without-scores", attention)
    model = hf.AutoModelForCausalLM.from_config(config, attn_implementation="without-scores", dtype=torch.bfloat16)
    blocks = [m for m in model.modules() if type(m).__name__ in set(model._no_split_modules)]
    torch._dynamo.reset()
    for block in blocks:
        # Inductor's partitioner without its code.
        block.compile(backend="aot_eager_decomp_partition")
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor):
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    ids = torch.zeros(1, ROWS, dtype=torch.int64)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.base_model(input_ids=ids, use_cache=False)
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    # Of the counted, what stands on the way back and the loss' own rows are no part of this: they do not grow with the blocks.
    layers = config.num_hidden_layers
    shorter = config.to_dict() | {"num_hidden_layers": layers - 1}
    all_blocks = counted(config, {})[0]["activationBytes"]
    one_less = counted(type(config)(**shorter), {})[0]["activationBytes"]
    # Beside the blocks: the last norm, which keeps f32 and its result, and the positions' cosines and sines.
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    beside = ROWS * (6 * config.hidden_size + 4 * head_dim + 12)
    assert found == pytest.approx(layers * (all_blocks - one_less) + beside, rel=0.05)
