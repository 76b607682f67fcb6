"""Trains config.yaml at the LR of every step. See README.md.

python train.py
torchrun --nproc-per-node 8 train.py
accelerate launch --config_file fsdp.yaml train.py
"""

import os
from pathlib import Path

import numpy as np
import torch
import yaml
from llamafactory.train.tuner import run_exp
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import Trainer
from transformers.utils import is_flash_attn_2_available

os.chdir(Path(__file__).resolve().parent)
LR = np.fromfile("lr.f32", dtype="<f4")
ROWS_PER_STEP = 4
args = yaml.safe_load(Path("config.yaml").read_text())


def check_rows(args):
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if rows != ROWS_PER_STEP:
        raise SystemExit(f"A step would read {rows} rows, the plan has {ROWS_PER_STEP}: look at the batch and at how many devices are seen.")


def create_scheduler(self, num_training_steps, optimizer=None):
    check_rows(self.args)
    if self.lr_scheduler is None:
        optimizer = optimizer or self.optimizer
        tables = {id(t.weight) for t in (self.model.get_input_embeddings(), self.model.get_output_embeddings())}
        for group in list(optimizer.param_groups):
            mine = [p for p in group["params"] if id(p) in tables]
            if mine:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                # Of the LR that all other weights have.
                optimizer.add_param_group({**group, "params": mine, "lr": self.args.learning_rate * 0.5})
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(LR[min(step, len(LR) - 1)]) / self.args.learning_rate
        )
    return self.lr_scheduler


make_accelerator = Trainer.create_accelerator_and_postprocess


def create_accelerator(self):
    make_accelerator(self)
    # Gradients of several devices are summed in f32.
    fsdp = getattr(self.accelerator.state, "fsdp_plugin", None)
    if fsdp is not None and fsdp.fsdp_version == 2 and self.args.bf16:
        fsdp.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


if __name__ == "__main__":
    # LLaMA-Factory's trainers go on to this one.
    Trainer.create_scheduler = create_scheduler
    Trainer.create_accelerator_and_postprocess = create_accelerator
    devices = int(os.environ.get("WORLD_SIZE", 1))
    if ROWS_PER_STEP % devices:
        raise SystemExit(f"A step of {ROWS_PER_STEP} rows does not divide among {devices} devices.")
    args["gradient_accumulation_steps"] = ROWS_PER_STEP // devices
    args["flash_attn"] = "fa2" if is_flash_attn_2_available() else "sdpa"
    run_exp(args)
