// LLaMA-Factory: a configuration that reads the data as already tokenized, and a script that starts it with the LR of each step. Written
// against llamafactory 0.9.5 (transformers 5.6.0).
import * as path from 'node:path';
import { writeFileAtomic } from '../base/files.ts';
import { hasWindows, packableDecoder } from './decoder.ts';
import { type NearSchedule, nearestSchedule } from './hf-schedule.ts';
import { FlatRow, flatLength, writeRows } from './packed.ts';
import { refuseUnable } from './refuse.ts';
import { passTokens, rowsPerStep } from './rows.ts';
import { bash, decimal, evalCommand, quoted, refuseDropout, writeLrs } from './script.ts';
import { carriedByTrainer, fsdpYaml, moving, rowsCheck, sumsInF32 } from './transformers.ts';
import type { Exported, Exporter, ExportSource } from './types.ts';

export const llamaFactory: Exporter = {
  framework: 'llama-factory',
  check(source) {
    refuseUnable(source, 'llama-factory', ['embeddingLr']);
    packableDecoder(source, 'llama-factory');
    refuseDropout(source.model, 'LLaMA-Factory');
  },
  async write(source, folder) {
    const size = passTokens(source.job);
    const length = flatLength(size);
    const near = nearestSchedule(source);
    writeRows(
      source,
      path.join(folder, 'data'),
      ['input_ids', 'attention_mask', 'position_ids', 'labels'],
      (row) => {
        const { inputs, documents, positions, labels } = new FlatRow(row, length);
        return [inputs, documents, positions, labels];
      },
      size,
    );
    writeLrs(folder, 'lr.f32', source.job);
    writeFileAtomic(path.join(folder, 'config.yaml'), config(source, size, near));
    writeFileAtomic(path.join(folder, 'train.py'), script(source, size));
    writeFileAtomic(path.join(folder, 'fsdp.yaml'), fsdpYaml(source));
    return describe(source, size, near);
  },
};

function config(source: ExportSource, size: number, { type, options, warmupSteps }: NearSchedule): string {
  const { plan, job, model } = source;
  const { optimizer, checkpoint, precision, seed, numSteps } = job.job;
  const shown = Object.entries(options).map(
    ([key, value]) => `${key}: ${typeof value === 'number' ? decimal(value) : value}`,
  );
  return `# Run ${plan.name}. See README.md; train.py sets the LR of every step.
model_name_or_path: ${quoted(model)}

# Not pt: that would take its own labels, and attend across documents.
stage: sft
do_train: true
finetuning_type: full

# The rows stand in the order of the steps, cut and packed; attention_mask numbers their documents, which is what neat_packing reads.
tokenized_path: data
dataset: planned  # has to be there, is not looked at
template: empty
cutoff_len: ${flatLength(size)}
packing: true
neat_packing: true
disable_shuffling: true

max_steps: ${numSteps}
per_device_train_batch_size: 1
# On one GPU; train.py divides it among several.
gradient_accumulation_steps: ${rowsPerStep(job, size)}
learning_rate: ${decimal(plan.schedule.peakLr)}
# The nearest of transformers' own, for who trains without train.py.
lr_scheduler_type: ${type}
lr_scheduler_kwargs: { ${shown.join(', ')} }
warmup_steps: ${warmupSteps}
optim: adamw_torch
adam_beta1: ${decimal(optimizer.beta1)}
adam_beta2: ${decimal(optimizer.beta2)}
adam_epsilon: ${decimal(optimizer.eps)}
weight_decay: ${decimal(optimizer.weightDecay)}
max_grad_norm: ${decimal(optimizer.clipNorm)}
bf16: ${precision === 'bf16'}
flash_attn: ${needsFlashAttention(source) ? 'fa2' : 'auto'}

seed: ${seed}
logging_steps: 1
save_steps: ${checkpoint.everySteps}
save_total_limit: ${checkpoint.keep}
output_dir: model
report_to: none
`;
}

/** With PyTorch's attention its mask of documents takes the place of a layer's window, and soft caps are left out. */
function needsFlashAttention(source: ExportSource): boolean {
  const decoder = packableDecoder(source, 'llama-factory');
  return hasWindows(decoder, source.job) || decoder.attentionSoftcap > 0;
}

function script(source: ExportSource, size: number): string {
  const factor = source.job.job.optimizer.embeddingLrFactor ?? 1;
  return `"""Trains config.yaml at the LR of every step. See README.md.

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
ROWS_PER_STEP = ${rowsPerStep(source.job, size)}
args = yaml.safe_load(Path("config.yaml").read_text())


${rowsCheck()}

def create_scheduler(self, num_training_steps, optimizer=None):
    check_rows(self.args)
    if self.lr_scheduler is None:
        optimizer = optimizer or self.optimizer
${
  factor === 1
    ? ''
    : `        tables = {id(t.weight) for t in (self.model.get_input_embeddings(), self.model.get_output_embeddings())}
        for group in list(optimizer.param_groups):
            mine = [p for p in group["params"] if id(p) in tables]
            if mine:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                # Of the LR that all other weights have.
                optimizer.add_param_group({**group, "params": mine, "lr": self.args.learning_rate * ${decimal(factor)}})
`
}        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(LR[min(step, len(LR) - 1)]) / self.args.learning_rate
        )
    return self.lr_scheduler


make_accelerator = Trainer.create_accelerator_and_postprocess


def create_accelerator(self):
    make_accelerator(self)
${sumsInF32('self', '    ')}

if __name__ == "__main__":
    # LLaMA-Factory's trainers go on to this one.
    Trainer.create_scheduler = create_scheduler
    Trainer.create_accelerator_and_postprocess = create_accelerator
    devices = int(os.environ.get("WORLD_SIZE", 1))
    if ROWS_PER_STEP % devices:
        raise SystemExit(f"A step of {ROWS_PER_STEP} rows does not divide among {devices} devices.")
    args["gradient_accumulation_steps"] = ROWS_PER_STEP // devices
${
  needsFlashAttention(source)
    ? `    if not is_flash_attn_2_available():
        raise SystemExit("Install flash-attn: without it this model's sliding windows or soft caps would be left out.")
`
    : ''
}    args["flash_attn"] = "fa2" if is_flash_attn_2_available() else "sdpa"
    run_exp(args)
`;
}

function describe(source: ExportSource, size: number, near: NearSchedule): Exported {
  const { folder, config, job } = source;
  const added = flatLength(size) - size;
  const percent = Number((100 * near.worst.share).toPrecision(2));
  const otherLr = (job.job.optimizer.embeddingLrFactor ?? 1) !== 1;
  return {
    title: 'LLaMA-Factory 0.9.5',
    intro: `LLaMA-Factory’s configuration, the data, already tokenized and packed, and a script that starts LLaMA-Factory with the LR of every step. ${moving('config.yaml')}`,
    files: [
      { file: 'config.yaml', what: 'LLaMA-Factory’s configuration' },
      {
        file: 'train.py',
        what: 'starts it with our LR; interrupted, the same command goes on from the newest checkpoint',
      },
      { file: 'data/', what: 'rows in the order of the steps, for `tokenized_path`' },
      { file: 'lr.f32', what: 'the LR of each step, little-endian f32' },
      { file: 'fsdp.yaml', what: 'for accelerate: 8 GPUs, FSDP2' },
    ],
    commands: [
      {
        heading: 'Install',
        text: 'PyTorch as your GPUs need it (https://pytorch.org), then:',
        lines: ['pip install llamafactory==0.9.5', '# on GPUs', 'pip install flash-attn --no-build-isolation'],
      },
      {
        heading: 'Train',
        lines: [
          `cd ${bash(folder)}`,
          'python train.py',
          '# 8 GPUs that each hold the whole model',
          'torchrun --nproc-per-node 8 train.py',
          '# a model that has to be divided among them',
          'accelerate launch --config_file fsdp.yaml train.py',
        ],
      },
      {
        heading: 'Train without train.py',
        text: `\`llamafactory-cli train config.yaml\` reads the same data in the same order, at the nearest schedule that transformers has: ${near.type}, at most ${percent} % of the peak LR away from the plan’s (step ${near.worst.step})${otherLr ? ', with one LR for all weights' : ''}. On several GPUs divide gradient_accumulation_steps by their number.`,
        lines: [],
      },
      {
        heading: 'Score',
        text: 'The result is a Hugging Face folder.',
        lines: [evalCommand(bash(path.join(folder, 'model')), config)],
      },
    ],
    carried: carriedByTrainer(
      source,
      size,
      `a row has ${added} places more than tokens, from which nothing is predicted (${Number(((100 * added) / size).toPrecision(2))} %)`,
    ),
    warnings: needsFlashAttention(source)
      ? [
          'Install flash-attn: without it LLaMA-Factory leaves out this model’s sliding windows or soft caps. train.py then stops; llamafactory-cli only warns.',
        ]
      : [],
  };
}
