// Axolotl: its configuration, and a plugin of its own kind that hands it the data as they lie and the LR of each step. Written against
// axolotl 0.19.0 (transformers 5.16.1).
import * as path from 'node:path';
import { writeFileAtomic } from '../base/files.ts';
import { packableDecoder } from './decoder.ts';
import { FlatRow, flatLength, writeRows } from './packed.ts';
import { refuseUnable } from './refuse.ts';
import { passTokens, rowsPerStep } from './rows.ts';
import { bash, decimal, dropoutsOf, evalCommand, layerClass, quoted, refuseDropout, writeLrs } from './script.ts';
import { carriedByTrainer, moving, rowsCheck } from './transformers.ts';
import type { Exported, Exporter, ExportSource } from './types.ts';

export const axolotl: Exporter = {
  framework: 'axolotl',
  check(source) {
    refuseUnable(source, 'axolotl', ['embeddingLr']);
    packableDecoder(source, 'axolotl');
    // Only keys of the first level can be overridden.
    refuseDropout(
      source.model,
      'Axolotl',
      dropoutsOf(source.model).filter((key) => key.includes('.')),
    );
  },
  async write(source, folder) {
    const size = passTokens(source.job);
    const length = flatLength(size);
    writeRows(
      source,
      path.join(folder, 'data'),
      ['input_ids', 'labels', 'position_ids'],
      (row) => {
        const { inputs, labels, positions } = new FlatRow(row, length);
        return [inputs, labels, positions];
      },
      size,
    );
    writeLrs(folder, 'lr.f32', source.job);
    writeFileAtomic(path.join(folder, 'config.yaml'), config(source, size));
    writeFileAtomic(path.join(folder, 'planned_run.py'), plugin(source, size));
    return describe(source, size);
  },
};

function config(source: ExportSource, size: number): string {
  const { plan, job, model } = source;
  const { optimizer, checkpoint, precision, seed, numSteps } = job.job;
  return `# Run ${plan.name}. See README.md.
base_model: ${quoted(model)}
${withoutDropout(model)}
# planned_run.py reads the data and sets the LR of every step; lr_scheduler is not used.
plugins:
  - planned_run.PlannedRun
datasets:
  - path: data
    type:
# The rows stand in the order of the steps, cut and packed.
curriculum_sampling: true
sample_packing: false
sequence_len: ${flatLength(size)}
pad_to_sequence_len: false

num_epochs: 1
max_steps: ${numSteps}
micro_batch_size: 1
# On one GPU; on several, planned_run.py divides it.
gradient_accumulation_steps: ${rowsPerStep(job, size)}
learning_rate: ${decimal(plan.schedule.peakLr)}
lr_scheduler: constant
warmup_steps: 0
optimizer: adamw_torch_fused
adam_beta1: ${decimal(optimizer.beta1)}
adam_beta2: ${decimal(optimizer.beta2)}
adam_epsilon: ${decimal(optimizer.eps)}
weight_decay: ${decimal(optimizer.weightDecay)}
max_grad_norm: ${decimal(optimizer.clipNorm)}

# planned_run.py keeps the weights in f32; bf16 rounds them for each pass.
bf16: ${precision === 'bf16'}
tf32: false
attn_implementation: flash_attention_2
gradient_checkpointing: true

seed: ${seed}
val_set_size: 0
logging_steps: 1
save_steps: ${checkpoint.everySteps}
save_total_limit: ${checkpoint.keep}
save_only_model: false
auto_resume_from_checkpoints: true
output_dir: model

# For a model that one GPU cannot hold:
# fsdp_version: 2
# fsdp_config:
#   auto_wrap_policy: TRANSFORMER_BASED_WRAP
#   transformer_layer_cls_to_wrap: ${layerClass(model)}
#   reshard_after_forward: true
#   state_dict_type: FULL_STATE_DICT
`;
}

function withoutDropout(model: string): string {
  const keys = dropoutsOf(model);
  return keys.length === 0 ? '' : `overrides_of_model_config:\n${keys.map((key) => `  ${key}: 0.0\n`).join('')}`;
}

function plugin(source: ExportSource, size: number): string {
  const factor = source.job.job.optimizer.embeddingLrFactor ?? 1;
  return `"""Hands Axolotl the rows in the order of the steps, and the LR of each. See README.md."""

import os
from pathlib import Path

import numpy as np
import torch
from axolotl.common.datasets import TrainDatasetMeta
from axolotl.integrations.base import BasePlugin
from datasets import load_from_disk

HERE = Path(__file__).resolve().parent
ROWS_PER_STEP = ${rowsPerStep(source.job, size)}
LR = np.fromfile(HERE / "lr.f32", dtype="<f4")


${rowsCheck()}

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
        check_rows(trainer.args)${
          factor === 1
            ? ''
            : `
        tables = (trainer.model.get_input_embeddings(), trainer.model.get_output_embeddings())
        tables = {id(table.weight) for table in tables}
        for group in list(optimizer.param_groups):
            mine = [p for p in group["params"] if id(p) in tables]
            if mine:
                group["params"] = [p for p in group["params"] if id(p) not in tables]
                # Of the LR that all other weights have.
                optimizer.add_param_group({**group, "params": mine, "lr": cfg.learning_rate * ${decimal(factor)}})`
        }
        return torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: float(LR[min(step, len(LR) - 1)]) / cfg.learning_rate
        )
`;
}

function describe(source: ExportSource, size: number): Exported {
  const { folder, config } = source;
  return {
    title: 'Axolotl 0.19.0',
    intro: `Axolotl’s configuration, the data, and a plugin that hands Axolotl the data as they lie and the LR of every step. Without the plugin the configuration does not load. ${moving('config.yaml')}`,
    files: [
      { file: 'config.yaml', what: 'Axolotl’s configuration' },
      { file: 'planned_run.py', what: 'the plugin' },
      { file: 'data/', what: 'rows in the order of the steps, for `datasets.load_from_disk`' },
      { file: 'lr.f32', what: 'the LR of each step, little-endian f32' },
    ],
    commands: [
      {
        heading: 'Install',
        text: 'PyTorch as your GPUs need it (https://pytorch.org), then:',
        lines: ['pip install --no-build-isolation "axolotl[flash-attn]==0.19.0"'],
      },
      {
        heading: 'Train',
        text: 'From this folder. Interrupted, the same command goes on from the newest checkpoint.',
        lines: [
          `cd ${bash(folder)}`,
          'CUDA_VISIBLE_DEVICES=0 PYTHONPATH=. axolotl train config.yaml',
          '# 8 GPUs; for a model that one cannot hold, first uncomment fsdp_config in config.yaml',
          'PYTHONPATH=. axolotl train config.yaml --launcher torchrun -- --nproc_per_node=8',
        ],
      },
      {
        heading: 'Score',
        text: 'The result is a Hugging Face folder.',
        lines: [evalCommand(bash(path.join(folder, 'model')), config)],
      },
    ],
    carried: [
      ...carriedByTrainer(
        source,
        size,
        `a row has ${flatLength(size) - size} places more than tokens, from which nothing is predicted (${Number((100 * (flatLength(size) / size - 1)).toPrecision(2))} %)`,
      ),
      ...(source.job.job.precision === 'bf16'
        ? [
            {
              what: 'bf16 with FSDP',
              how: 'approximate' as const,
              note: 'accelerate sums gradients of several GPUs in bf16',
            },
          ]
        : []),
    ],
    warnings: [],
  };
}
