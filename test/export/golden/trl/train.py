"""Run tiny: 10.2k tokens in 40 steps. See README.md.

python train.py
accelerate launch --config_file fsdp.yaml train.py
"""

import os
import re
from pathlib import Path

import numpy as np
import torch
from datasets import load_from_disk
from torch.distributed.fsdp import MixedPrecisionPolicy
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import is_flash_attn_2_available
from trl import SFTConfig, SFTTrainer

HERE = Path(__file__).resolve().parent
MODEL = "/root/model"
ROWS_PER_STEP = 4
# On each device, in one pass. Any divisor of a device's share of a step: it changes memory and speed, not the result.
ROWS_AT_ONCE = 2
LR = np.fromfile(HERE / "lr.f32", dtype="<f4")


def check_rows(args):
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if rows != ROWS_PER_STEP:
        raise SystemExit(f"A step would read {rows} rows, the plan has {ROWS_PER_STEP}: look at the batch and at how many devices are seen.")


class PlannedTrainer(SFTTrainer):
    """Trains each step at the LR of the plan."""

    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        tables = {id(m.weight) for m in (self.model.get_input_embeddings(), self.model.get_output_embeddings())}
        for group in list(optimizer.param_groups):
            mine = [p for p in group["params"] if id(p) in tables]
            if mine:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                # Of the LR that all other weights have.
                optimizer.add_param_group({**group, "params": mine, "lr": 0.5})
        return optimizer

    def create_scheduler(self, num_training_steps, optimizer=None):
        check_rows(self.args)
        if self.lr_scheduler is None:
            # Times the optimizer's own LR, which is 1.
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer, lambda step: float(LR[min(step, len(LR) - 1)])
            )
        return self.lr_scheduler


devices = int(os.environ.get("WORLD_SIZE", 1))
rows_at_once = min(ROWS_AT_ONCE, max(1, ROWS_PER_STEP // devices))
if ROWS_PER_STEP % (devices * rows_at_once):
    raise SystemExit(f"A step of {ROWS_PER_STEP} rows does not divide among {devices} devices, {rows_at_once} at once.")

# Weights are kept in f32; bf16 below rounds them for each pass.
model = AutoModelForCausalLM.from_pretrained(
    MODEL,
    dtype=torch.float32,
    attn_implementation="flash_attention_2" if is_flash_attn_2_available() else "sdpa",
)
# The plan has no dropout, whatever the model's configuration says.
for part in [*model.modules(), model.config]:
    if isinstance(part, torch.nn.Dropout):
        part.p = 0.0
    for name, value in list(vars(part).items()):
        if re.search(r"(dropout(_prob)?|pdrop|layerdrop)$", name) and isinstance(value, float):
            setattr(part, name, 0.0)
config = SFTConfig(
    output_dir=str(HERE / "checkpoints"),
    # The rows stand in the order of the steps, cut and packed: nothing is to be done to them.
    dataset_kwargs={"skip_prepare_dataset": True},
    train_sampling_strategy="sequential",
    padding_free=True,
    max_length=None,
    max_steps=len(LR),
    per_device_train_batch_size=rows_at_once,
    gradient_accumulation_steps=ROWS_PER_STEP // (devices * rows_at_once),
    learning_rate=1.0,
    adam_beta1=0.9,
    adam_beta2=0.95,
    adam_epsilon=1.0e-8,
    weight_decay=0.1,
    max_grad_norm=1,
    bf16=torch.cuda.is_available(),
    activation_checkpointing=torch.cuda.is_available(),
    use_cpu=not torch.accelerator.is_available(),
    seed=7,
    logging_steps=1,
    save_steps=5,
    save_total_limit=2,
    report_to="none",
)
trainer = PlannedTrainer(
    model=model,
    args=config,
    train_dataset=load_from_disk(str(HERE / "data")),
    processing_class=AutoTokenizer.from_pretrained(MODEL),
)
# Gradients of several devices are summed in f32.
fsdp = getattr(trainer.accelerator.state, "fsdp_plugin", None)
if fsdp is not None and fsdp.fsdp_version == 2 and trainer.args.bf16:
    fsdp.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
trainer.train(resume_from_checkpoint=get_last_checkpoint(config.output_dir) if os.path.isdir(config.output_dir) else None)
trainer.save_model(str(HERE / "model"))
