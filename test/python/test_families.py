"""Every family of the native engine against Hugging Face transformers, on tiny random configurations: logits, every gradient by name,
documents packed in a row, ten AdamW steps, export and reload.

Needs the built dist/ and the packages of requirements.txt. Run by .ci/run, or: pytest test/python
"""

import pytest
import torch
import transformers as hf
from harness import SEQ, make_model, probe, random_batch, request_for, torch_steps
from safetensors.torch import load_file

COMMON = dict(vocab_size=320, hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
TOKENS = dict(bos_token_id=0, eos_token_id=0, pad_token_id=None)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=32)
PHI_LONG = dict(
    rope_type="longrope",
    rope_theta=10000.0,
    short_factor=[1.0, 1.1, 1.2, 1.3, 1.4, 1.5],
    long_factor=[1.0, 1.5, 2.0, 3.0, 4.0, 5.0],
    original_max_position_embeddings=64,
    partial_rotary_factor=0.75,
)

# A window of 24 over 96 tokens, so that it matters; layers enough to have one of every kind.
CASES = {
    "llama-biases": (hf.LlamaConfig, dict(attention_bias=True, mlp_bias=True)),
    "smollm3": (hf.SmolLM3Config, dict(num_hidden_layers=4)),
    "smollm3-window": (hf.SmolLM3Config, dict(num_hidden_layers=4, use_sliding_window=True, sliding_window=24)),
    "mistral": (hf.MistralConfig, dict(sliding_window=None)),
    "mistral-window": (hf.MistralConfig, dict(sliding_window=24)),
    "qwen2": (hf.Qwen2Config, dict(tie_word_embeddings=True)),
    "qwen2-window": (hf.Qwen2Config, dict(use_sliding_window=True, sliding_window=24, max_window_layers=1)),
    "qwen3": (hf.Qwen3Config, dict(head_dim=24, tie_word_embeddings=True)),
    "qwen3-yarn": (hf.Qwen3Config, dict(head_dim=32, rope_parameters=YARN)),
    "gemma": (hf.GemmaConfig, dict(head_dim=32, num_key_value_heads=1)),
    "gemma2": (hf.Gemma2Config, dict(head_dim=24, sliding_window=24, query_pre_attn_scalar=20, attn_logit_softcapping=2.0, final_logit_softcapping=3.0)),
    "gemma3": (hf.Gemma3TextConfig, dict(head_dim=24, sliding_window=24, query_pre_attn_scalar=20, sliding_window_pattern=2)),
    "gemma3-linear": (
        hf.Gemma3TextConfig,
        dict(
            head_dim=24,
            sliding_window=24,
            layer_types=["sliding_attention", "full_attention", "sliding_attention"],
            rope_parameters={"full_attention": dict(rope_type="linear", factor=8.0, rope_theta=1e6), "sliding_attention": dict(rope_type="default", rope_theta=1e4)},
        ),
    ),
    "olmo2": (hf.Olmo2Config, dict()),
    "phi3": (hf.Phi3Config, dict(tie_word_embeddings=False)),
    "phi3-longrope": (hf.Phi3Config, dict(rope_parameters=PHI_LONG)),
    "mixtral": (hf.MixtralConfig, dict(num_local_experts=4)),
    "mixtral-window": (hf.MixtralConfig, dict(num_local_experts=4, sliding_window=24)),
    "qwen3-moe": (hf.Qwen3MoeConfig, dict(head_dim=24, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=40, norm_topk_prob=True, mlp_only_layers=[0])),
    "qwen3-moe-alternating": (
        hf.Qwen3MoeConfig,
        dict(num_hidden_layers=4, num_experts=6, num_experts_per_tok=1, moe_intermediate_size=40, decoder_sparse_step=2, use_sliding_window=True, sliding_window=24),
    ),
    "olmoe": (hf.OlmoeConfig, dict(num_experts=8, num_experts_per_tok=3)),
    "olmoe-clip": (hf.OlmoeConfig, dict(num_experts=8, num_experts_per_tok=8, clip_qkv=0.5, norm_topk_prob=True, attention_bias=True)),
    "gpt2": (hf.GPT2Config, dict(n_embd=64, n_layer=3, n_head=4, n_positions=128, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)),
    "gpt-neox": (hf.GPTNeoXConfig, dict(hidden_act="gelu")),
    "gpt-neox-serial": (hf.GPTNeoXConfig, dict(use_parallel_residual=False, rotary_pct=1.0)),
}


def model_of(case, folder):
    config_class, changes = CASES[case]
    common = dict(vocab_size=COMMON["vocab_size"]) if config_class is hf.GPT2Config else dict(COMMON)
    if config_class is hf.GPTNeoXConfig:
        common.pop("num_key_value_heads")
    return make_model(folder, config_class(**{**common, **TOKENS, **changes}))


def gradients(model, folder):
    """Gradients under the names of the checkpoint."""
    names = set(load_file(folder / "model.safetensors"))
    # transformers keeps GPT-NeoX's output matrix under another name in memory.
    found = {name if name in names else name.replace("lm_head", "embed_out"): p.grad for name, p in model.named_parameters()}
    for name in [name for name in found if ".mlp.experts." in name]:
        found.update(expert_gradients(name, found.pop(name), names))
    for name in [name for name in found if ".mlp.gate.weight" in name and name not in names]:
        found[name.replace(".mlp.", ".block_sparse_moe.")] = found.pop(name)
    assert set(found) == names, names ^ set(found)
    return found


def expert_gradients(name, grad, names):
    """transformers stacks a layer's experts in memory; checkpoints have them one by one, Mixtral's under other names."""
    layer, kind = name.split(".mlp.experts.")
    mixtral = f"{layer}.block_sparse_moe.experts.0.w1.weight" in names
    block = "block_sparse_moe" if mixtral else "mlp"
    parts = {"down_proj": ["w2" if mixtral else "down_proj"], "gate_up_proj": ["w1", "w3"] if mixtral else ["gate_proj", "up_proj"]}[kind]
    return {f"{layer}.{block}.experts.{e}.{part}.weight": g for e in range(len(grad)) for part, g in zip(parts, grad[e].chunk(len(parts)))}


def assert_gradients(got, expected, case):
    worst = 0.0
    for name, grad in expected.items():
        ours = got[f"grad.{name}"]
        # Sums of some hundred f32 products in another order: a few ulps of the largest element.
        error = (ours - grad).abs().max().item() / max(grad.abs().max().item(), 1e-8)  # 0 of an expert without tokens
        worst = max(worst, error)
        assert error <= 5e-5, f"{name}: relative error {error:.2e}"
    print(f"{case}: worst gradient error relative to a tensor's largest element {worst:.2e}")


@pytest.mark.parametrize("case", CASES)
def test_logits_and_every_gradient(case, tmp_path):
    folder = tmp_path / "model"
    model = model_of(case, folder)
    inputs, targets = random_batch(model.config.vocab_size)
    got = probe(tmp_path, **request_for(folder, inputs, targets))
    logits = model(inputs).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    difference = (got["logits"] - logits.detach().flatten(0, 1)).abs().max().item()
    print(f"{case}: largest difference of logits {difference:.2e}, of size {logits.abs().max().item():.1f}")
    assert difference <= 1e-4
    assert_gradients(got, gradients(model, folder), case)


@pytest.mark.parametrize("case", CASES)
def test_packed_documents_equal_documents_alone(case, tmp_path):
    if case == "phi3-longrope":
        pytest.skip("transformers chooses LongRoPE's factors by the longest document, we by the row's length")
    folder = tmp_path / "model"
    model = model_of(case, folder)
    inputs, targets = random_batch(model.config.vocab_size, batch=1)
    cuts = [0, 1, 34, 70, SEQ]
    doc_start = torch.zeros(1, SEQ, dtype=torch.long)
    pieces = []
    for a, b in zip(cuts, cuts[1:]):
        doc_start[0, a:b] = a
        pieces.append(model(inputs[:, a:b]).logits[0])
    got = probe(tmp_path, **request_for(folder, inputs, targets, doc_start))
    logits = torch.cat(pieces)
    assert (got["logits"] - logits.detach()).abs().max().item() <= 1e-4
    torch.nn.functional.cross_entropy(logits, targets[0]).backward()
    assert_gradients(got, gradients(model, folder), case)


@pytest.mark.parametrize("case", CASES)
def test_ten_adamw_steps_then_export_and_reload(case, tmp_path):
    folder = tmp_path / "model"
    model = model_of(case, folder).train()
    inputs, targets = random_batch(model.config.vocab_size)
    lrs = [1e-3 * (1 - i / 20) for i in range(10)]
    aux_coef = 0.02 if hasattr(model.config, "router_aux_loss_coef") else 0
    routers = dict(balance=aux_coef, z=0) if aux_coef else None
    optimizer = dict(beta1=0.9, beta2=0.95, eps=1e-8, weightDecay=0.1, clipNorm=0.5)
    got = probe(
        tmp_path,
        **request_for(folder, inputs, targets, steps=[{"lr": lr} for lr in lrs], optimizer=optimizer, routers=routers, export=str(tmp_path / "export")),
    )
    losses, norms, aux_losses = torch_steps(model, inputs, targets, lrs, 0.5, aux_coef)
    difference = (got["step_losses"] - torch.tensor(losses)).abs().max().item()
    print(f"{case}: ten steps, largest difference of loss {difference:.2e}, loss {losses[0]:.4f} -> {losses[-1]:.4f}")
    assert losses[-1] < losses[0] - 0.1
    # Adam divides by sqrt(v): rounding differences of tiny gradients grow by up to a step's LR each.
    assert difference <= 2e-4
    assert (got["step_norms"] / torch.tensor(norms) - 1).abs().max().item() <= 1e-3
    if aux_coef:
        assert (got["step_aux_losses"] - torch.tensor(aux_losses)).abs().max().item() <= 1e-3
    reloaded = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "export", attn_implementation="eager").eval()
    again = probe(tmp_path, **request_for(tmp_path / "export", inputs, targets))
    difference = (again["logits"] - reloaded(inputs).logits.detach().flatten(0, 1)).abs().max().item()
    print(f"{case}: exported folder in transformers, largest difference of f32 logits {difference:.2e}")
    assert difference <= 1e-4


@pytest.mark.parametrize("case", CASES)
def test_generation_with_a_cache(case, tmp_path):
    folder = tmp_path / "model"
    model = model_of(case, folder)
    inputs, targets = random_batch(model.config.vocab_size, seq=72)
    # Chunks, tokens one by one, then a chunk again; the window of 24 is passed in each way.
    generate = dict(capacity=112, pieces=[30, 1, 1, 1, 17, *[1] * 12, 10], maxTokens=24)
    got = probe(tmp_path, **{**request_for(folder, inputs, targets), "want": ["logits"]}, generate=generate)
    logits = got["logits"]
    error = ((got["cached_logits"] - logits).abs().max() / logits.abs().max()).item()
    print(f"{case}: cache against full forward, error relative to the largest logit {error:.2e}")
    # The order of sums differs (tiles of keys, few rows at a time): a few f32 ulps.
    assert error <= 1e-5
    expected = model.generate(
        inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=24, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert got["generated"].int().tolist() == expected[:, inputs.shape[1] :].tolist()
