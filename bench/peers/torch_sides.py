"""The PyTorch engine beside transformers' Trainer. Usage: python torch_sides.py FOLDER [--only TEXT], FOLDER from `npm run bench -- torch --prepare FOLDER`

Every side is a process of its own, and all read the same jobs. What a side says of the first steps' mean loss is compared before its time counts.
Writes FOLDER/results.json as it goes, and a line a side on stderr.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

# Mean loss of the same steps by two programs. f32: sums in another order. bf16: activations are rounded to 8 bits, and moments of it differ.
TOLERANCE = {"f32": 2e-5, "bf16": 5e-3}


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


def make_weights(model: Path) -> None:
    """Random ones, once, in bf16."""
    if (model / "model.safetensors").exists() or (model / "model.safetensors.index.json").exists():
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(model)
    given = (model / "config.json").read_text()
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(model)
    (model / "config.json").write_text(given)


# --- the sides, each in a process of its own


def run_worker(spec: dict, case: dict, folder: Path, documents: bool) -> dict:
    """By the messages that the engine sends: what stands between two steps counts, too."""
    run = Path(case["jobs"]["documents" if documents else "whole"])
    for leftover in ("checkpoints", "metrics.jsonl", "events.jsonl"):
        subprocess.run(["rm", "-rf", run / leftover], check=True)
    command = [sys.executable, "-m", "continuo_worker", str(run / "job"), "--threads", str(spec["threads"])]
    if case["recompute"] != "none":
        command.append("--recompute")
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(folder)
    )
    ends, losses, last = [], [], {}
    for line in process.stdout:
        last = json.loads(line)
        if last["type"] == "step":
            ends.append(time.perf_counter())
            losses.append(last["loss"])
    errors = process.stderr.read()
    if process.wait() != 0:
        return {"failed": last.get("message") if last.get("type") == "fatal" else errors.strip()[-400:]}
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    finish = next(event for event in events if event["type"] == "finish")
    keys = ("dataMs", "mfu")
    means = {key: _mean([m[key] for m in metrics[spec["warmUp"] :]]) for key in keys if key in metrics[-1]}
    saved = [event for event in events if event["type"] == "checkpoint"]
    subprocess.run(["rm", "-rf", run / "checkpoints"], check=True)
    return {
        "ends": ends,
        "loss": _mean(losses),
        "peakBytes": finish.get("peakDeviceBytes") or finish["peakRssBytes"],
        "checkpoints": [{k: e[k] for k in e if "econds" in k} for e in saved],
        **means,
    }


def run_trainer(spec: dict, case: dict, folder: Path, compiled: bool, weights: str) -> dict:
    request = {**case, "spec": spec, "compiled": compiled, "weights": weights}
    ran = subprocess.run(
        [sys.executable, __file__, str(folder), "--trainer", json.dumps(request)],
        check=False, capture_output=True, text=True, env=environment(folder),
    )  # fmt: skip
    if ran.returncode != 0:
        lines = [line for line in ran.stderr.strip().splitlines() if line.strip()]
        return {"failed": next((line for line in reversed(lines) if "Error" in line), "no message")[:400]}
    return json.loads(ran.stdout.strip().splitlines()[-1])


def trainer(request: dict, folder: Path) -> None:
    import resource

    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments
    from transformers.utils import logging

    sys.path.insert(0, str(folder))
    from continuo_worker.job import Job

    logging.disable_progress_bar()
    spec = request["spec"]
    uses_gpu = torch.cuda.is_available()
    if not uses_gpu:
        torch.set_num_threads(spec["threads"])
    job = Job(Path(request["jobs"]["whole"]) / "job")
    per_step, per_pass = spec["sequencesPerStep"], request["perPass"]

    class Sequences(torch.utils.data.Dataset):
        def __len__(self):
            return spec["numSteps"] * per_step

        def __getitem__(self, i):
            sequence = job.sequences(i // per_step, range(i % per_step, i % per_step + 1))[0]
            targets = torch.from_numpy(sequence.targets).long()
            # A loss of transformers shifts labels by one; given these it takes them as they are.
            return {"input_ids": torch.from_numpy(sequence.inputs).long(), "labels": targets, "shift_labels": targets}

    ends = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            if uses_gpu:
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    # Its name since transformers 5.2x; before it there was the other alone.
    names = ("activation_checkpointing", "gradient_checkpointing")
    recompute_key = next(name for name in names if name in TrainingArguments.__dataclass_fields__)
    bf16 = request["precision"] == "bf16"
    dtype = torch.bfloat16 if request["weights"] == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(request["modelFolder"], dtype=dtype, attn_implementation="sdpa")
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"),
        max_steps=spec["numSteps"],
        per_device_train_batch_size=per_pass,
        gradient_accumulation_steps=per_step // per_pass,
        train_sampling_strategy="sequential",
        learning_rate=1e-5,
        lr_scheduler_type="constant",
        weight_decay=0.1,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=bf16 and request["weights"] == "f32",
        torch_compile=request["compiled"],
        **{recompute_key: request["recompute"] != "none"},
        use_cpu=not uses_gpu,
        dataloader_num_workers=2 if uses_gpu else 0,
        save_strategy="no",
        # Once, at the end: each line waits for the GPU.
        logging_steps=spec["numSteps"],
        report_to="none",
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    made = Trainer(model=model, args=arguments, train_dataset=Sequences(), callbacks=[Clock()])
    made.train()
    loss = next(line["loss"] for line in made.state.log_history if "loss" in line)
    peak = torch.cuda.max_memory_allocated() if uses_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"ends": ends, "loss": loss, "peakBytes": peak}))


# --- all of them


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def measure(spec: dict, case: dict, side: str, folder: Path) -> dict:
    if side.startswith("continuo"):
        found = run_worker(spec, case, folder, side.endswith("documents"))
    else:
        weights = "bf16" if "bf16" in side else "f32"
        found = run_trainer(spec, case, folder, side.endswith("compiled"), weights)
    if "failed" in found:
        return found
    ends = found.pop("ends")[spec["warmUp"] - 1 :]
    seconds = [b - a for a, b in itertools.pairwise(ends)]
    tokens = spec["sequencesPerStep"] * case["seqLen"]
    # The fastest step: other programs only ever slow one down.
    rate = tokens / min(seconds)
    return {**found, "seconds": seconds, "tokensPerSecond": rate, "flopsPerSecond": rate * case["flopsPerToken"]}


def machine(folder: Path) -> dict:
    import torch
    import transformers

    sys.path.insert(0, str(folder))
    from continuo_worker.speed import measured_peak

    where = {"torch": torch.__version__, "transformers": transformers.__version__}
    if not torch.cuda.is_available():
        return where
    return {**where, "gpu": torch.cuda.get_device_name(), "measuredPeakFlops": measured_peak(torch.device("cuda"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="cases whose name begins so, such as 1b-4096")
    parser.add_argument("--trainer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    folder = options.folder.resolve()
    if options.trainer:
        trainer(json.loads(options.trainer), folder)
        return
    spec = json.loads((folder / "spec.json").read_text())
    record = {**machine(folder), "results": []}
    results = record["results"]
    for case in spec["cases"]:
        name = f"{case['model']}-{case['seqLen']}-{case['precision']}-{case['perPass']}-{case['recompute']}"
        if not name.startswith(options.only):
            continue
        make_weights(Path(case["modelFolder"]))
        losses = {}
        for side in spec["sides"]:
            if case["precision"] == "f32" and "bf16" in side:
                continue
            found = measure(spec, case, side, folder)
            settings = {k: case[k] for k in ("model", "seqLen", "precision", "perPass", "recompute", "numParameters")}
            results.append({**settings, "side": side, **found})
            if "failed" not in found and side != "continuo-documents":
                losses[side] = found["loss"]
            said = found.get("failed") or f"{found['tokensPerSecond']:.0f} tokens/s, loss {found['loss']:.5f}"
            print(f"{name} {side}: {said}", file=sys.stderr, flush=True)
            (folder / "results.json").write_text(json.dumps(record, indent=1))
        tolerance = TOLERANCE[case["precision"]]
        if losses and max(losses.values()) - min(losses.values()) > tolerance * max(losses.values()):
            sys.exit(f"{name}: the sides trained differently, mean losses {losses}: not timing a wrong result")
    add_ratios(results)
    (folder / "results.json").write_text(json.dumps(record, indent=1))


def add_ratios(results: list[dict]) -> None:
    """Each side's best beside the Trainer's best of all settings and ways that keep weights in f32."""
    keys = ("model", "seqLen", "precision")
    for result in results:
        fitting = [r for r in results if "tokensPerSecond" in r and all(r[key] == result[key] for key in keys)]
        peers = [r["tokensPerSecond"] for r in fitting if r["side"] in ("trainer", "trainer-compiled")]
        if peers and "tokensPerSecond" in result:
            result["ofTrainer"] = result["tokensPerSecond"] / max(peers)


main()
