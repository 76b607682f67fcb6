"""What the Python tests share: tiny models of transformers written as folders, and our engine's answer to a request (probe.mjs)."""

import json
import subprocess
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parents[2]
SEQ = 96


def make_model(folder: Path, config):
    """A model of `config` in f32 with random weights, saved in `folder` with a tokenizer."""
    torch.manual_seed(7)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # Larger than usual initial weights make every part of the model matter to the result.
            p.add_(torch.randn_like(p) * (0.1 if "norm" in name or "bias" in name else 0.05))
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder: Path) -> None:
    """A byte-level vocabulary of 257: enough for a folder to be complete."""
    data = json.loads((ROOT / "test/fixtures/byte-tokenizer/tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(data))
    (folder / "tokenizer_config.json").write_text((ROOT / "test/fixtures/byte-tokenizer/tokenizer_config.json").read_text())


def probe(tmp: Path, **request):
    request_file, out = tmp / "request.json", tmp / "out.safetensors"
    request_file.write_text(json.dumps(request))
    subprocess.run(["node", str(ROOT / "test/python/probe.mjs"), str(request_file), str(out)], check=True, cwd=ROOT)
    return load_file(out)


def random_batch(vocab: int, batch=2, seq=SEQ):
    g = torch.Generator().manual_seed(3)
    ids = torch.randint(0, vocab, (batch, seq + 1), generator=g)
    return ids[:, :-1], ids[:, 1:]


def request_for(folder, inputs, targets, doc_start=None, **more) -> dict:
    flat = lambda t: t.flatten().tolist()
    doc_start = torch.zeros_like(inputs) if doc_start is None else doc_start
    return dict(
        model=str(folder), precision="f32", batch=inputs.shape[0], seqLen=inputs.shape[1],
        inputs=flat(inputs), targets=flat(targets), docStart=flat(doc_start), want=["logits", "gradients"], **more,
    )


def torch_steps(model, inputs, targets, lrs, clip, aux_coef=0):
    """Losses without the router's, norms, router's losses; with `aux_coef` above 0 the model is one of experts."""
    decayed = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    losses, norms, aux_losses = [], [], []
    for lr in lrs:
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.zero_grad()
        out = model(inputs, output_router_logits=True) if aux_coef else model(inputs)
        loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1).float(), targets.flatten())
        (loss + aux_coef * out.aux_loss if aux_coef else loss).backward()
        if aux_coef:
            aux_losses.append(out.aux_loss.item())
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item())
        optimizer.step()
        losses.append(loss.item())
    return losses, norms, aux_losses
