"""Families that the native engine does not know, under the PyTorch one: documents of a sequence kept apart, logits, checkpoints; experts; a
model's own code.

Needs the built dist/ and the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers as hf
from harness import ROOT, make_model, write_tokenizer
from safetensors.torch import load_file, save_file
from test_torch_engine import copy_job, evaluation, largest_difference, make_job, metrics, train, train_native

sys.path.insert(0, str(ROOT / "worker"))
from continuo_worker import own_code  # noqa: E402
from continuo_worker.documents import NOT_APART  # noqa: E402
from continuo_worker.errors import ConfigError, UserError  # noqa: E402
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
    return load_model(job_of(folder, **job), ranks)


def job_of(folder, **job):
    batch = dict(seqLen=64, sequencesPerStep=1, sequencesPerMicroBatch=1)
    return {"model": str(folder), "precision": "f32", "batch": batch, "phases": [], "seed": 0, **job}


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


def test_experts_are_frozen_by_the_names_of_the_folder(tmp_path, ranks):
    """transformers has one tensor where the folder has one for each expert."""
    names = "model.layers.0.block_sparse_moe.experts"
    model = load(tmp_path, WITH_EXPERTS["mixtral"], ranks, freeze=[names, "model.embed_tokens"])
    frozen = {name for name, p in model.model.named_parameters() if not p.requires_grad}
    in_memory = "model.layers.0.mlp.experts"
    assert frozen == {"model.embed_tokens.weight", f"{in_memory}.gate_up_proj", f"{in_memory}.down_proj"}
    with pytest.raises(UserError, match=rf"{names}.0.w1.weight is to be frozen and {names}.1.w1.weight is not"):
        load(tmp_path, WITH_EXPERTS["mixtral"], ranks, freeze=[f"{names}.0"])


def test_a_models_own_code_is_run_with_consent_alone(tmp_path, ranks, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(ROOT / "test/python/own_model", folder)
    config = {"model_type": "own_of_the_tests", "vocab_size": 257, "architectures": ["OwnForCausalLM"]}
    config["auto_map"] = {"AutoConfig": "configuration_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config))
    write_tokenizer(folder)
    torch.manual_seed(7)
    made = hf.AutoModelForCausalLM.from_config(
        hf.AutoConfig.from_pretrained(folder, trust_remote_code=True), trust_remote_code=True
    )
    save_file(dict(made.state_dict()), folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match=r"\(configuration_own.py, modeling_own.py\) is not run without consent"):
        own_code.config_of(str(folder))
    monkeypatch.setattr(own_code._Consent, "is_given", True)
    # What is in no file, and only its own code makes.
    assert torch.equal(load_model(job_of(folder), ranks).model.body.layers[0].slope, made.body.layers[0].slope)
    # A family that the native engine does not know has nothing measured in it.
    result = continuo("plan", tmp_path, folder, evaluate={"tasks": ["arc_easy"]})
    assert result.returncode == 2
    assert "own_of_the_tests are trained by the PyTorch engine alone" in result.stderr
    assert "lm-evaluation-harness" in result.stderr
    result = continuo("run", tmp_path, folder, engine={"torch": {"trustRemoteCode": True}})
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    assert summary["domain"]["last"] < summary["domain"]["first"]
    # It has no masks that could be told.
    assert NOT_APART in (tmp_path / "tiny/events.jsonl").read_text()
    # The folder is as the source was, with its code.
    checkpoint = tmp_path / "tiny/checkpoints/step-00000006"
    saved, source = (load_file(f / "model.safetensors") for f in (checkpoint, folder))
    assert saved.keys() == source.keys()
    again = hf.AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)
    tokens = torch.arange(20)[None]
    assert not torch.equal(made(tokens).logits, again(tokens).logits)


def continuo(command, folder, model, engine="torch", **more):
    """`continuo plan` or `run`, of six steps on made-up sentences."""
    for name, word in (("domain", "ba"), ("general", "ku")):
        lines = [json.dumps({"text": " ".join(f"{word}{i * j % 7}" for j in range(20 + i))}) for i in range(40)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    corpora = {name: {"path": str(folder / f"{name}.jsonl"), "role": name} for name in ("domain", "general")}
    config = dict(name="tiny", model=str(model), corpora=corpora, budget=dict(steps=6), engine=engine, output=str(folder))
    training = dict(seqLen=64, batchTokens=256, precision="f32")
    (folder / "continuo.yaml").write_text(json.dumps({**config, "training": training, **more}))
    arguments = [command, str(folder / "continuo.yaml"), "--json", "--threads", "1"]
    environment = {**os.environ, "CONTINUO_PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "HF_MODULES_CACHE": str(folder)}
    return subprocess.run(["node", str(ROOT / "dist/cli/main.js"), *arguments], capture_output=True, text=True, env=environment)
