"""PyTorch's side of bench/train.mjs: transformers' Llama, AdamW, clipping, on CPU. Prints one line of JSON."""

import json
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM

folder, tokens_file, mode, steps, threads = sys.argv[1:6]
torch.set_num_threads(int(threads))
data = json.load(open(tokens_file))
ids = torch.tensor(data["tokens"]).view(data["batch"], data["seqLen"] + 1)
inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
model.config.use_cache = False
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)
forward = torch.compile(model) if mode.endswith("compiled") else model


def step():
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mode.startswith("bf16")):
        logits = forward(input_ids=inputs).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


first_loss = step()
seconds = []
for _ in range(int(steps)):
    start = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - start)
print(
    json.dumps(
        {
            "version": torch.__version__,
            "firstLoss": first_loss,
            "tokensPerSecond": inputs.numel() / min(seconds),
            "peakRssBytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    )
)
