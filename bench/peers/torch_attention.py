"""PyTorch's side of bench/attention.mjs. Reads one request a line from stdin, answers each with one line of JSON.

check: attention and its gradient of arrays in a folder, compared with those that lie beside them; {"worst": relative difference}.
training: seconds of a forward and a backward pass, the best of scaled_dot_product_attention and, forward, compiled flex_attention.
decode: seconds of one query a sequence over its cache.
"""

import json
import os
import sys
import time

os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

DTYPES = {"bf16": torch.bfloat16, "f32": torch.float32}
compiled_flex = torch.compile(flex_attention, dynamic=False)


def best_time(call, seconds, prepare=lambda: None):
    prepare()
    call()
    best, until, runs = float("inf"), time.perf_counter() + seconds, 0
    while runs < 3 or (runs < 1000 and time.perf_counter() < until):
        prepare()
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        runs += 1
    return best


def visible(window):
    return lambda b, h, query, key: (query >= key) & (query - key < window)


def attend(q, k, v, window):
    """[batch, heads, tokens, headDim]; causal, in a window where there is one."""
    length, mask = q.shape[2], None
    if window:
        i = torch.arange(length)
        mask = (i[:, None] >= i[None, :]) & (i[:, None] - i[None, :] < window)
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)


def heads(shape, dtype, count):
    return torch.randn(shape["batch"], count, shape["seqLen"], shape["headDim"], dtype=DTYPES[dtype])


def check(folder, shape):
    def read(name, count):
        x = torch.from_file(f"{folder}/{name}", size=os.path.getsize(f"{folder}/{name}") // 4, dtype=torch.float32)
        return x.view(shape["batch"], shape["seqLen"], count, shape["headDim"]).transpose(1, 2)

    q, k, v = (read(n, shape[c]).requires_grad_() for n, c in (("q", "numHeads"), ("k", "numKvHeads"), ("v", "numKvHeads")))
    out = attend(q, k, v, shape["window"])
    out.backward(read("dOut", shape["numHeads"]))
    worst = 0.0
    for name, x in (("out", out), ("dq", q.grad), ("dk", k.grad), ("dv", v.grad)):
        ours = read(name, x.shape[1])
        worst = max(worst, ((ours - x).abs().max() / x.abs().max()).item())
    return {"worst": worst}


def training(shape, dtype, seconds, with_flex):
    window = shape["window"]
    q, k, v = (heads(shape, dtype, shape[c]).requires_grad_() for c in ("numHeads", "numKvHeads", "numKvHeads"))
    grad = heads(shape, dtype, shape["numHeads"])
    with torch.no_grad():
        forward = {"sdpa": best_time(lambda: attend(q, k, v, window), seconds)}
        if with_flex:
            try:
                mask = create_block_mask(visible(window or shape["seqLen"]), None, None, shape["seqLen"], shape["seqLen"], device="cpu")
                call = lambda: compiled_flex(q, k, v, block_mask=mask, enable_gqa=shape["numHeads"] != shape["numKvHeads"])
                difference = (call() - attend(q, k, v, window)).abs().max().item()
                if difference < 0.05:
                    forward["flex"] = best_time(call, seconds)
            except Exception as error:
                print(f"flex_attention: {str(error).splitlines()[0]}", file=sys.stderr)
    state = {}

    def prepare():
        q.grad = k.grad = v.grad = None
        state["out"] = attend(q, k, v, window)

    backward = best_time(lambda: state["out"].backward(grad), seconds, prepare)
    best = min(forward, key=forward.get)
    return {"forward": forward[best], "by": best, "backward": backward}


def decode(shape, dtype, seconds, slots):
    rows, length = shape["rows"], shape["length"]
    cache = torch.randn(slots, 2, rows, shape["numKvHeads"], length, shape["headDim"]).to(DTYPES[dtype])
    q = torch.randn(rows, shape["numHeads"], 1, shape["headDim"], dtype=DTYPES[dtype])
    turn = iter(range(10**9))

    def call():
        k, v = cache[next(turn) % slots]
        scaled_dot_product_attention(q, k, v, enable_gqa=True)

    with torch.no_grad():
        return {"forward": best_time(call, seconds)}


for line in sys.stdin:
    request = json.loads(line)
    torch.set_num_threads(request.pop("threads"))
    kind = request.pop("kind")
    print(json.dumps({"check": check, "training": training, "decode": decode}[kind](**request)), flush=True)
