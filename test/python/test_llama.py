"""Our decoder against Hugging Face transformers on tiny random Llamas: logits, every gradient by name, ten AdamW steps, export and reload.

Needs the built dist/ and the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

from pathlib import Path

import harness
import pytest
import torch
from harness import SEQ, probe, random_batch, request_for, torch_steps
from transformers import AutoModelForCausalLM, LlamaConfig

CASES = {
    "plain": dict(num_key_value_heads=4, tie_word_embeddings=False),
    "grouped-tied": dict(num_key_value_heads=2, tie_word_embeddings=True),
    "odd-sizes": dict(hidden_size=60, num_attention_heads=3, num_key_value_heads=1, intermediate_size=101, vocab_size=263),
    "llama3-rope": dict(
        num_key_value_heads=2,
        rope_theta=500000.0,
        max_position_embeddings=4096,
        rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
    ),
    "linear-rope-headdim": dict(num_key_value_heads=1, head_dim=32, rope_scaling={"rope_type": "linear", "factor": 2.0}),
}

def make_model(folder: Path, **changes):
    sizes = dict(vocab_size=320, hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4, max_position_embeddings=512, rms_norm_eps=1e-5)
    return harness.make_model(folder, LlamaConfig(**{**sizes, **changes}, bos_token_id=0, eos_token_id=0))


@pytest.mark.parametrize("case", CASES)
def test_logits_losses_and_every_gradient(case, tmp_path):
    model = make_model(tmp_path / "model", **CASES[case])
    inputs, targets = random_batch(model.config.vocab_size)
    got = probe(tmp_path, **request_for(tmp_path / "model", inputs, targets))
    logits = model(inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    difference = (got["logits"] - logits.detach().flatten(0, 1)).abs().max().item()
    print(f"{case}: largest difference of logits {difference:.2e}")
    assert difference <= 1e-4
    # Sums of some hundred f32 products in another order: a few ulps of the largest element.
    worst = 0.0
    for name, p in model.named_parameters():
        ours = got[f"grad.{name}"]
        scale = p.grad.abs().max().item()
        error = (ours - p.grad).abs().max().item() / scale
        worst = max(worst, error)
        assert error <= 2e-5, f"{name}: relative error {error:.2e}"
    print(f"{case}: worst gradient error relative to a tensor's largest element {worst:.2e}")


def test_documents_do_not_see_each_other(tmp_path):
    """A packed row equals its documents run one by one in transformers."""
    model = make_model(tmp_path / "model", num_key_value_heads=2)
    inputs, targets = random_batch(model.config.vocab_size, batch=1)
    cuts = [0, 1, 34, 70, SEQ]
    doc_start = torch.zeros(1, SEQ, dtype=torch.long)
    pieces = []
    for a, b in zip(cuts, cuts[1:]):
        doc_start[0, a:b] = a
        pieces.append(model(inputs[:, a:b]).logits[0])
    got = probe(tmp_path, **request_for(tmp_path / "model", inputs, targets, doc_start))
    logits = torch.cat(pieces)
    assert (got["logits"] - logits.detach()).abs().max().item() <= 1e-4
    torch.nn.functional.cross_entropy(logits, targets[0]).backward()
    for name, p in model.named_parameters():
        assert (got[f"grad.{name}"] - p.grad).abs().max().item() / p.grad.abs().max().item() <= 2e-5, name


def test_masked_targets_bear_no_loss(tmp_path):
    model = make_model(tmp_path / "model", num_key_value_heads=2)
    inputs, targets = random_batch(model.config.vocab_size)
    targets = targets.clone()
    targets[0, :50] = -1
    got = probe(tmp_path, **request_for(tmp_path / "model", inputs, targets))
    loss = torch.nn.functional.cross_entropy(model(inputs).logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    loss.backward()
    ours = got["losses"].sum().item() / (targets >= 0).sum().item()
    assert abs(ours - loss.item()) <= 1e-5
    grad = model.model.layers[0].self_attn.q_proj.weight.grad
    assert (got["grad.model.layers.0.self_attn.q_proj.weight"] - grad).abs().max().item() / grad.abs().max().item() <= 2e-5


@pytest.mark.parametrize("case", ["plain", "grouped-tied"])
def test_ten_adamw_steps_then_export_and_reload(case, tmp_path):
    model = make_model(tmp_path / "model", **CASES[case]).train()
    inputs, targets = random_batch(model.config.vocab_size)
    lrs = [1e-3 * (1 - i / 20) for i in range(10)]
    optimizer = dict(beta1=0.9, beta2=0.95, eps=1e-8, weightDecay=0.1, clipNorm=0.5)
    got = probe(
        tmp_path,
        **request_for(tmp_path / "model", inputs, targets, steps=[{"lr": lr} for lr in lrs], optimizer=optimizer, export=str(tmp_path / "export")),
    )
    losses, norms, _ = torch_steps(model, inputs, targets, lrs, 0.5)
    difference = (got["step_losses"] - torch.tensor(losses)).abs().max().item()
    print(f"{case}: ten steps, largest difference of loss {difference:.2e}, loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    assert losses[-1] < losses[0] - 0.1
    # Adam divides by sqrt(v): rounding differences of tiny gradients grow by up to a step's LR each.
    assert difference <= 2e-4
    assert (got["step_norms"] / torch.tensor(norms) - 1).abs().max().item() <= 1e-3
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "export").eval()
    again = probe(tmp_path, **request_for(tmp_path / "export", inputs, targets))
    difference = (again["logits"] - reloaded(inputs).logits.detach().flatten(0, 1)).abs().max().item()
    print(f"{case}: exported folder in transformers, largest difference of f32 logits {difference:.2e}")
    assert difference <= 1e-4


def test_bf16_follows_f32(tmp_path):
    """bf16 with f32 masters: the loss after ten steps stays within 1 % of f32's."""
    model = make_model(tmp_path / "model", num_key_value_heads=2)
    inputs, targets = random_batch(model.config.vocab_size)
    optimizer = dict(beta1=0.9, beta2=0.95, eps=1e-8, weightDecay=0.1, clipNorm=1.0)
    runs = {}
    for precision in ("f32", "bf16"):
        request = request_for(tmp_path / "model", inputs, targets, steps=[{"lr": 1e-3}] * 10, optimizer=optimizer)
        runs[precision] = probe(tmp_path, **{**request, "precision": precision, "want": []})["step_losses"]
    assert (runs["bf16"] / runs["f32"] - 1).abs().max().item() <= 0.01
