"""lm-evaluation-harness's side of bench/eval.mjs: the same requests to its transformers model on CPU, timed by kind and batch size.

Usage: python lm_eval_model.py SPEC_JSON with {folder, requestsFile, dtype, batchSizes, threads, repeats}; prints one line of JSON.
"""

import json
import os
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
spec = json.loads(sys.argv[1])

import lm_eval
import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(spec["threads"])
lm = HFLM(pretrained=spec["folder"], device="cpu", dtype=spec["dtype"], batch_size=1)
with open(spec["requestsFile"]) as f:
    requests = json.load(f)


def asked(kind, arguments):
    return [Instance(request_type=kind, doc={}, arguments=args, idx=i) for i, args in enumerate(arguments)]


def ask(kind, items):
    if kind == "rolling":
        return lm.loglikelihood_rolling(asked("loglikelihood_rolling", [(text,) for text in items]), disable_tqdm=True)
    if kind == "generate":
        arguments = [(r["prompt"], dict(until=[*r["until"]], max_gen_toks=r["maxTokens"])) for r in items]
        return lm.generate_until(asked("generate_until", arguments), disable_tqdm=True)
    return lm.loglikelihood(asked("loglikelihood", [(r["context"], r["continuation"]) for r in items]), disable_tqdm=True)


def reset_peak_memory():
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")


def peak_memory_bytes():
    with open("/proc/self/status") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM"))


runs = []
for batch_size in spec["batchSizes"]:
    lm.batch_size_per_gpu = batch_size
    kinds = {}
    for kind, items in requests.items():
        reset_peak_memory()
        seconds = []
        for _ in range(spec["repeats"]):
            start = time.perf_counter()
            answers = ask(kind, items)
            seconds.append(time.perf_counter() - start)
        kinds[kind] = dict(seconds=seconds, answers=answers, peakRssBytes=peak_memory_bytes())
    runs.append(dict(batchSize=batch_size, kinds=kinds))
print(json.dumps(dict(lmEval=lm_eval.__version__, transformers=transformers.__version__, torch=torch.__version__, runs=runs)))
