// TRL: a script around SFTTrainer. Written against TRL 1.16.0, transformers 5.23.0, accelerate 1.15.0 and datasets 5.2.0.
import * as path from 'node:path';
import { writeFileAtomic } from '../base/files.ts';
import { formatCount } from '../base/units.ts';
import { packableDecoder } from './decoder.ts';
import { hasMasks, joinedInputs, joinedLabels, joinedLengths, writeRows } from './packed.ts';
import { refuseUnable } from './refuse.ts';
import { rowsPerStep, rowTokens } from './rows.ts';
import { bash, DROPOUT, decimal, evalCommand, quoted, writeLrs } from './script.ts';
import { carriedByTrainer, fsdpYaml, moving, refuseWithoutRoom, rowsCheck, sumsInF32 } from './transformers.ts';
import type { Exported, Exporter, ExportSource } from './types.ts';

const VERSIONS = ['trl==1.16.0', 'transformers==5.23.0', 'accelerate==1.15.0', 'datasets==5.2.0'];

export const trl: Exporter = {
  framework: 'trl',
  check(source) {
    refuseUnable(source, 'trl', ['embeddingLr']);
    packableDecoder(source, 'trl');
    refuseWithoutRoom(source);
  },
  async write(source, folder) {
    let numRead = 0;
    let numParts = 0;
    const masked = hasMasks(source);
    const columns = ['input_ids', ...(masked ? ['labels'] : []), 'seq_lengths'];
    writeRows(source, path.join(folder, 'data'), columns, (row) => {
      const ids = joinedInputs(row);
      numRead += ids.length;
      numParts += row.length;
      return [ids, ...(masked ? [joinedLabels(row)] : []), joinedLengths(row)];
    });
    writeLrs(folder, 'lr.f32', source.job);
    writeFileAtomic(path.join(folder, 'train.py'), script(source));
    writeFileAtomic(path.join(folder, 'fsdp.yaml'), fsdpYaml(source));
    writeFileAtomic(path.join(folder, 'requirements.txt'), `${['torch', 'numpy', ...VERSIONS].join('\n')}\n`);
    return describe(source, numParts / numRead);
  },
};

/** Rows that a device takes at a time: as many tokens as the plan's, at least one row. */
function rowsAtOnce(source: ExportSource): number {
  const { seqLen, sequencesPerMicroBatch } = source.job.job.batch;
  const wanted = Math.max(1, Math.floor((seqLen * sequencesPerMicroBatch) / rowTokens(source.job)));
  for (let rows = wanted; ; rows--) if (rowsPerStep(source.job) % rows === 0) return rows;
}

function script(source: ExportSource): string {
  const { plan, job, model } = source;
  const { optimizer, checkpoint, precision, seed, numSteps } = job.job;
  const factor = optimizer.embeddingLrFactor ?? 1;
  return `"""Run ${plan.name}: ${formatCount(plan.totalTokens)} tokens in ${numSteps} steps. See README.md.

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
MODEL = ${quoted(model)}
ROWS_PER_STEP = ${rowsPerStep(job)}
# On each device, in one pass. Any divisor of a device's share of a step: it changes memory and speed, not the result.
ROWS_AT_ONCE = ${rowsAtOnce(source)}
LR = np.fromfile(HERE / "lr.f32", dtype="<f4")


${rowsCheck()}

class PlannedTrainer(SFTTrainer):
    """Trains each step at the LR of the plan."""
${
  factor === 1
    ? ''
    : `
    def create_optimizer(self, model=None):
        optimizer = super().create_optimizer(model)
        tables = {id(m.weight) for m in (self.model.get_input_embeddings(), self.model.get_output_embeddings())}
        for group in list(optimizer.param_groups):
            mine = [p for p in group["params"] if id(p) in tables]
            if mine:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                # Of the LR that all other weights have.
                optimizer.add_param_group({**group, "params": mine, "lr": ${decimal(factor)}})
        return optimizer
`
}
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
    attn_implementation="flash_attention_2" if is_flash_attn_2_available() else "${packableDecoder(source, 'trl').attentionSoftcap > 0 ? 'eager' : 'sdpa'}",
)
# The plan has no dropout, whatever the model's configuration says.
for part in [*model.modules(), model.config]:
    if isinstance(part, torch.nn.Dropout):
        part.p = 0.0
    for name, value in list(vars(part).items()):
        if re.search(r"${DROPOUT}", name) and isinstance(value, float):
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
    adam_beta1=${decimal(optimizer.beta1)},
    adam_beta2=${decimal(optimizer.beta2)},
    adam_epsilon=${decimal(optimizer.eps)},
    weight_decay=${decimal(optimizer.weightDecay)},
    max_grad_norm=${decimal(optimizer.clipNorm)},
    bf16=${precision === 'bf16' ? 'torch.cuda.is_available()' : 'False'},
    activation_checkpointing=torch.cuda.is_available(),
    use_cpu=not torch.accelerator.is_available(),
    seed=${seed},
    logging_steps=1,
    save_steps=${checkpoint.everySteps},
    save_total_limit=${checkpoint.keep},
    report_to="none",
)
trainer = PlannedTrainer(
    model=model,
    args=config,
    train_dataset=load_from_disk(str(HERE / "data")),
    processing_class=AutoTokenizer.from_pretrained(MODEL),
)
${sumsInF32('trainer')}trainer.train(resume_from_checkpoint=get_last_checkpoint(config.output_dir) if os.path.isdir(config.output_dir) else None)
trainer.save_model(str(HERE / "model"))
`;
}

function describe(source: ExportSource, shareAdded: number): Exported {
  const { folder, config } = source;
  return {
    title: 'TRL 1.16.0',
    intro: `A script around \`SFTTrainer\`, its data, and the LR of every step. Attention is flash attention where \`flash-attn\` is installed, else PyTorch’s own, which keeps to documents as well but builds a mask of a row by a row. ${moving('train.py')}`,
    files: [
      { file: 'train.py', what: 'the training; interrupted, the same command goes on from the newest checkpoint' },
      { file: 'data/', what: 'rows in the order of the steps, for `datasets.load_from_disk`' },
      { file: 'lr.f32', what: 'the LR of each step, little-endian f32' },
      { file: 'fsdp.yaml', what: 'for accelerate: 8 GPUs, FSDP2' },
      { file: 'requirements.txt', what: 'the versions that this was written for' },
    ],
    commands: [
      {
        heading: 'Install',
        text: 'PyTorch as your GPUs need it (https://pytorch.org), then:',
        lines: [
          `pip install -r requirements.txt`,
          '# on GPUs, for attention that costs no more than the documents are long',
          'pip install flash-attn --no-build-isolation',
        ],
      },
      {
        heading: 'Train',
        lines: ['python train.py', '# 8 GPUs', 'accelerate launch --config_file fsdp.yaml train.py'],
      },
      {
        heading: 'Score',
        text: 'The result is a Hugging Face folder, and so is every checkpoint.',
        lines: [evalCommand(bash(path.join(folder, 'model')), config)],
      },
    ],
    carried: carriedByTrainer(
      source,
      rowTokens(source.job),
      `a token more of each is read, which only is predicted (${Number((100 * shareAdded).toPrecision(2))} % of all)`,
    ),
    warnings: [],
  };
}
