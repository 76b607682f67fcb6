"""PyTorch's side of bench/train.mjs: transformers' model, AdamW, clipping, on CPU. Usage: python torch_train.py SPEC_JSON

Checks its loss and gradient norm on a short sequence against those in the spec before it times anything. Prints one line of JSON; exits with 3
when the results differ, with 4 when memory does not suffice.
"""

import json
import os
import resource
import sys
import time

spec = json.loads(sys.argv[1])
# Allocations fail here instead of taking other programs' memory.
resource.setrlimit(resource.RLIMIT_DATA, (spec["memoryBytes"], spec["memoryBytes"]))
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch
import transformers
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM

transformers.utils.logging.disable_progress_bar()
SLICE_ROWS = 1024


def reset_peak_memory():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def peak_memory_bytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


def differs(found, expected, tolerance):
    return abs(found - expected) > tolerance * abs(expected)


class Side:
    def __init__(self):
        torch.set_num_threads(spec["threads"][-1])
        self.model = AutoModelForCausalLM.from_pretrained(
            spec["folder"], dtype=torch.float32, attn_implementation=spec["attention"]
        )
        self.model.config.use_cache = False
        self.model.train()
        if spec["checkpointing"]:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        parameters = self.model.parameters()
        if spec["optimizer"] == "adamw":
            self.optimizer = torch.optim.AdamW(
                parameters, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True
            )
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1e-4)
        self.loss = torch.compile(self.eager_loss) if spec["compiled"] else self.eager_loss

    def eager_loss(self, inputs, targets):
        if not spec["slicedLoss"]:
            logits = self.model(input_ids=inputs).logits
            return cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
        hidden = self.model.model(input_ids=inputs).last_hidden_state.flatten(0, 1)
        total = hidden.new_zeros(())
        for rows, wanted in zip(hidden.split(SLICE_ROWS), targets.flatten().split(SLICE_ROWS)):
            total = total + checkpoint(self.slice_loss, rows, wanted, use_reentrant=False)
        return total / targets.numel()

    def slice_loss(self, rows, wanted):
        return cross_entropy(self.model.lm_head(rows).float(), wanted, reduction="sum")

    def gradient(self, inputs, targets):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=spec["mode"] == "bf16"):
            loss = self.loss(inputs, targets)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        return {"loss": loss.item(), "norm": norm.item()}

    def step(self, inputs, targets):
        start = time.perf_counter()
        found = self.gradient(inputs, targets)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start, found


def main():
    with open(spec["tokensFile"]) as f:
        data = json.load(f)
    ids = torch.tensor(data["tokens"]).view(data["batch"], data["seqLen"] + 1)
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    side = Side()
    reset_peak_memory()
    tolerance, expected = spec["tolerance"], spec["expected"]
    result = {"version": torch.__version__, "threads": spec["threads"][-1], "attention": spec["attention"]}

    def check(found, wanted):
        for key in ("loss", "norm"):
            if key in wanted and differs(found[key], wanted[key], tolerance[key]):
                print(f"{key} {found[key]} differs from ours, {wanted[key]}", file=sys.stderr)
                sys.exit(3)

    # Compiled code is checked by its first step on the whole batch: another shape would be compiled as well.
    if not spec["compiled"]:
        length = spec["checkLength"]
        result["check"] = side.gradient(inputs[:1, :length].contiguous(), targets[:1, :length].contiguous())
        check(result["check"], expected["check"])
        side.optimizer.zero_grad(set_to_none=True)

    until = time.perf_counter() + spec["seconds"]
    took, result["first"] = side.step(inputs, targets)
    result["firstSeconds"] = took
    if "first" in expected:
        check(result["first"], expected["first"])
    # The first step allocates and, compiled, compiles; it counts only where it is so long that allocating cannot matter.
    seconds = [took] if took > spec["seconds"] and not spec["compiled"] else []
    if len(spec["threads"]) > 1 and took < 10:
        by_threads = {}
        for threads in spec["threads"]:
            torch.set_num_threads(threads)
            side.step(inputs, targets)
            by_threads[threads] = min(side.step(inputs, targets)[0] for _ in range(2))
        result["threads"] = min(by_threads, key=by_threads.get)
        result["secondsByThreads"] = by_threads
        torch.set_num_threads(result["threads"])
        until = time.perf_counter() + spec["seconds"]
    if spec["compiled"]:
        until = time.perf_counter() + spec["seconds"]
    while not seconds or (len(seconds) < spec["steps"] and time.perf_counter() < until):
        seconds.append(side.step(inputs, targets)[0])
    result.update(seconds=seconds, peakRssBytes=peak_memory_bytes())
    print(json.dumps(result))


try:
    main()
except (MemoryError, RuntimeError) as error:
    if isinstance(error, MemoryError) or "allocate memory" in str(error) or "bad_alloc" in str(error):
        print(f"out of memory: {str(error).splitlines()[0] if str(error) else error!r}", file=sys.stderr)
        sys.exit(4)
    raise
