"""PyTorch's side of the products of bench/gemm.mjs. Prints one line of JSON: seconds, the best of several, by shape and direction."""

import json
import sys
import time

import torch

spec = json.loads(sys.argv[1])
torch.set_num_threads(spec["threads"])
dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[spec["dtype"]]


def fastest(call):
    call()
    best, runs, until = float("inf"), 0, time.perf_counter() + spec["seconds"]
    while runs < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        call()
        best, runs = min(best, time.perf_counter() - start), runs + 1
    return best


@torch.inference_mode()
def product(direction, tokens, out, into):
    make = lambda *shape: torch.rand(shape).mul_(2).sub_(1).to(dtype)
    if direction == "forward":
        x, w, y = make(tokens, into), make(out, into), torch.empty(tokens, out, dtype=dtype)
        return fastest(lambda: torch.mm(x, w.t(), out=y))
    d_out = make(tokens, out)
    if direction == "dX":
        w, dx = make(out, into), torch.empty(tokens, into, dtype=dtype)
        return fastest(lambda: torch.mm(d_out, w, out=dx))
    # Gradients of weights add up; in PyTorch they have the weights' dtype.
    x, dw = make(tokens, into), torch.zeros(out, into, dtype=dtype)
    return fastest(lambda: dw.addmm_(d_out.t(), x))


print(json.dumps([[product(direction, *shape) for direction in spec["directions"]] for shape in spec["shapes"]]))
