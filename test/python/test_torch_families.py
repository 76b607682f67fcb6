"""Families that the native engine does not know, under the PyTorch one: documents of a sequence kept apart, logits, checkpoints; experts; a
model's own code.

Needs the built dist/ and the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

import sys

import pytest
import torch
import transformers as hf
from harness import ROOT, make_model
from safetensors.torch import load_file
from test_torch_engine import copy_job, evaluation, largest_difference, make_job, metrics, train, train_native

sys.path.insert(0, str(ROOT / "worker"))
from continuo_worker.documents import NOT_APART  # noqa: E402
from continuo_worker.model import load_model  # noqa: E402
from continuo_worker.ranks import Ranks  # noqa: E402

TOKENS = dict(vocab_size=257, bos_token_id=0, eos_token_id=0, pad_token_id=None)
COMMON = dict(**TOKENS, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128)
GROUPED = dict(**COMMON, intermediate_size=48, num_key_value_heads=2)
GPT = dict(**TOKENS, n_embd=32, n_layer=2, n_head=4, n_positions=128)
EXPERTS = dict(**GROUPED, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=8)
APART = {
    "phi": hf.PhiConfig(**COMMON, intermediate_size=48),
    "falcon": hf.FalconConfig(**COMMON),
    "falcon-alibi": hf.FalconConfig(**COMMON, alibi=True),
    "opt": hf.OPTConfig(**COMMON, ffn_dim=48, word_embed_proj_dim=32),
    "bloom": hf.BloomConfig(**TOKENS, hidden_size=32, n_layer=2, n_head=4),
    "mpt": hf.MptConfig(**TOKENS, d_model=32, n_layers=2, n_heads=4, max_seq_len=128),
    "cohere": hf.CohereConfig(**GROUPED),
    "granite": hf.GraniteConfig(**GROUPED, logits_scaling=8.0),
    "biogpt": hf.BioGptConfig(**{**COMMON, "pad_token_id": 1}, intermediate_size=48),
    "gptj": hf.GPTJConfig(**GPT, rotary_dim=4),
    "gpt-oss": hf.GptOssConfig(**GROUPED, head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=8),
    "stablelm": hf.StableLmConfig(**GROUPED),
}
TOGETHER = {
    "mamba": hf.MambaConfig(**TOKENS, hidden_size=32, num_hidden_layers=2, state_size=8),
    "lfm2": hf.Lfm2Config(**GROUPED, full_attn_idxs=[1]),
}


@pytest.fixture(scope="module")
def ranks():
    yield Ranks(print)
    torch.distributed.destroy_process_group()


def load(folder, config, ranks, **job):
    make_model(folder, config)
    batch = dict(seqLen=64, sequencesPerStep=1, sequencesPerMicroBatch=1)
    return load_model({"model": str(folder), "precision": "f32", "batch": batch, "phases": [], "seed": 0, **job}, ranks, False)


@pytest.mark.parametrize("family", [*APART, *TOGETHER])
def test_documents_of_a_sequence_are_as_documents_alone_or_it_is_said(family, tmp_path, ranks):
    model = load(tmp_path, (APART | TOGETHER)[family], ranks)
    tokens = torch.randint(257, (1, 45), generator=torch.Generator().manual_seed(1))
    lengths = [3, 30, 12]
    positions = torch.cat([torch.arange(n) for n in lengths])[None]
    targets = tokens.roll(-1, 1)
    weights = torch.ones(targets.shape)
    total, losses, _ = model(tokens, positions, targets, weights)
    total.backward()
    alone = [model.model(part, use_cache=False).logits[0] for part in tokens.split(lengths, 1)]
    expected = torch.nn.functional.cross_entropy(torch.cat(alone), targets[0], reduction="none")
    difference = (losses - expected).abs().max().item()
    # f32 sums in another order.
    assert (difference < 2e-5) == (family in APART), difference
    assert model.warnings == ([] if family in APART else [NOT_APART])


WITH_EXPERTS = {
    "mixtral": hf.MixtralConfig(**GROUPED, num_local_experts=4, num_experts_per_tok=2, sliding_window=24),
    "qwen3-moe": hf.Qwen3MoeConfig(**EXPERTS, norm_topk_prob=True),
    "olmoe": hf.OlmoeConfig(**GROUPED, num_experts=8, num_experts_per_tok=3),
}


@pytest.mark.parametrize("family", WITH_EXPERTS)
def test_experts_learn_as_under_the_native_engine(family, tmp_path):
    """The bound is the one asked for; f32 sums in another order are all that differs."""
    native = make_job(tmp_path, WITH_EXPERTS[family], 30, routers=dict(balance=0.02, z=0.001))
    run = copy_job(native, "torch")
    train_native(native)
    train(run)
    ours, theirs = metrics(run), metrics(native)
    assert largest_difference(ours, theirs) < 1e-4
    for x, y in zip(ours, theirs, strict=True):
        assert x["gradNorm"] == pytest.approx(y["gradNorm"], rel=1e-3)
        a, b = x["experts"], y["experts"]
        # A token of a few hundred whose two experts come close may go to another one.
        assert [a[key] for key in ("maxLoad", "minLoad", "entropy")] == pytest.approx(
            [b[key] for key in ("maxLoad", "minLoad", "entropy")], abs=0.03
        )
        assert (a["auxLoss"], a["zLoss"]) == pytest.approx((b["auxLoss"], b["zLoss"]), rel=1e-3)
        assert a["byLayer"].keys() == b["byLayer"].keys()
        assert a["byLayer"]["maxLoad"] == pytest.approx(b["byLayer"]["maxLoad"], abs=0.03)
    assert evaluation(run, 30)["sets"]["domain"]["bitsPerByte"] == pytest.approx(
        evaluation(native, 30)["sets"]["domain"]["bitsPerByte"], abs=1e-4
    )
    # transformers stacks experts in memory; the folder has them as the source had.
    saved, source = (load_file(folder / "model.safetensors") for folder in (run / "checkpoints/step-00000030", tmp_path / "model"))
    assert {name: t.shape for name, t in saved.items()} == {name: t.shape for name, t in source.items()}
    hf.AutoModelForCausalLM.from_pretrained(run / "checkpoints/step-00000030")
