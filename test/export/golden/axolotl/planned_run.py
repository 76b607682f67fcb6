"""Hands Axolotl the rows in the order of the steps, and the LR of each. See README.md."""

import os
from pathlib import Path

import numpy as np
import torch
from axolotl.common.datasets import TrainDatasetMeta
from axolotl.integrations.base import BasePlugin
from datasets import load_from_disk

HERE = Path(__file__).resolve().parent
ROWS_PER_STEP = 4
LR = np.fromfile(HERE / "lr.f32", dtype="<f4")


def check_rows(args):
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if rows != ROWS_PER_STEP:
        raise SystemExit(f"A step would read {rows} rows, the plan has {ROWS_PER_STEP}: look at the batch and at how many devices are seen.")


class PlannedRun(BasePlugin):
    def register(self, cfg):
        devices = int(os.environ.get("WORLD_SIZE", 1))
        if ROWS_PER_STEP % devices:
            raise SystemExit(f"A step of {ROWS_PER_STEP} rows does not divide among {devices} devices.")
        cfg["gradient_accumulation_steps"] = ROWS_PER_STEP // devices

    def load_datasets(self, cfg, preprocess=False):
        # With bf16, Axolotl would keep the weights in it, and small steps would be lost. Later than here it has made up its mind.
        cfg.torch_dtype = torch.float32
        # As they lie: nothing is tokenized, filtered, shuffled or packed.
        return TrainDatasetMeta(train_dataset=load_from_disk(str(HERE / "data")), total_num_steps=len(LR))

    def create_lr_scheduler(self, cfg, trainer, optimizer, num_training_steps):
        check_rows(trainer.args)
        tables = (trainer.model.get_input_embeddings(), trainer.model.get_output_embeddings())
        tables = {id(table.weight) for table in tables}
        for group in list(optimizer.param_groups):
            mine = [p for p in group["params"] if id(p) in tables]
            if mine:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                # Of the LR that all other weights have.
                optimizer.add_param_group({**group, "params": mine, "lr": cfg.learning_rate * 0.5})
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(LR[min(step, len(LR) - 1)]) / cfg.learning_rate
        )
