// torchtitan 0.3: a configuration is a Python function, and data loader and LR schedule may be the user's own classes. So the folder is
// a small module that reads the job: order, targets, positions and LR are the job's, on any number of GPUs.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import type { Job } from '../shards/index.ts';
import { type PlainDecoder, plainDecoder } from './decoder.ts';
import { JOB_FILES, MOVING, type Stage, stagesOf, writeJobFolder } from './job-folder.ts';
import { refuseUnable } from './refuse.ts';
import { bash, decimal, evalCommand } from './script.ts';
import type { Exported, Exporter, ExportSource } from './types.ts';

const VERSION = '0.3.0';
const MODULE = 'continuo_run';
const ROPES = ['none', 'llama3'] as const;

export const torchtitan: Exporter = {
  framework: 'torchtitan',

  check(source: ExportSource): void {
    refuseUnable(source, 'torchtitan', ['embeddingLr']);
    readDecoder(source.job.job, source.model);
  },

  async write(source: ExportSource, folder: string): Promise<Exported> {
    const { job } = source.job;
    const decoder = readDecoder(job, source.model);
    const stages = stagesOf(job);
    writeJobFolder(source, folder, { framework: 'torchtitan', module: MODULE, python: ['data.py', 'model.py'] });
    fs.writeFileSync(path.join(folder, MODULE, '__init__.py'), '');
    fs.writeFileSync(path.join(folder, MODULE, 'config_registry.py'), registry(source, decoder, stages));
    return describe(source, stages);
  },
};

function readDecoder(job: Job, model: string): PlainDecoder {
  const seqLen = Math.max(...stagesOf(job).map(({ batch }) => batch.seqLen));
  const decoder = plainDecoder(model, { framework: 'torchtitan', qkvBias: false, ropes: ROPES, seqLen });
  if (decoder.qkNorm === 'head' && decoder.rope.scaling.kind !== 'none')
    throw new ConfigError(`${path.join(model, 'config.json')}: torchtitan's Qwen 3 has no scaled positions.`);
  return decoder;
}

function registry({ job, plan }: ExportSource, decoder: PlainDecoder, stages: Stage[]): string {
  const { optimizer, precision, seed, checkpoint } = job.job;
  const peak = peakLr(job.job.numSteps, (step) => job.lrAt(step));
  const { embeddingLrFactor = 1 } = optimizer;
  const rope = decoder.rope.scaling;
  const scaling =
    rope.kind === 'llama3'
      ? `, "scaling": "llama", "scaling_factor": ${rope.factor}, "low_freq_factor": ${rope.lowFreqFactor}, ` +
        `"high_freq_factor": ${rope.highFreqFactor}, "original_max_position_embeddings": ${rope.originalContext}`
      : '';
  const groups = [
    // Of tied weights torchtitan's one parameter bears the embedding's name.
    ...(embeddingLrFactor === 1
      ? []
      : [
          `group(r"tok_embeddings|lm_head", lr=${decimal(peak * embeddingLrFactor)}, weight_decay=${decimal(optimizer.weightDecay)})`,
        ]),
    'group(r"norm", lr=PEAK_LR, weight_decay=0.0)',
    `group(r".*", lr=PEAK_LR, weight_decay=${decimal(optimizer.weightDecay)})`,
  ];
  const last = stages.length - 1;
  return `"""${plan.name}, as a configuration of torchtitan ${VERSION}. A function a stage: stages differ in how a step is cut into sequences.

    torchrun --nproc_per_node=8 -m torchtitan.train --module ${MODULE} --config stage_1
"""

import os
from pathlib import Path

from torchtitan.components.checkpointer import CheckpointManager
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.metrics import MetricsProcessor
from torchtitan.components.optimizer import OptimizersContainer, ParamGroupConfig
from torchtitan.components.validate import Validator
from torchtitan.config import TrainingConfig
from torchtitan.config.configs import DebugConfig
from torchtitan.distributed.activation_checkpoint import SelectiveAC
from torchtitan.trainer import Trainer

from .data import JobDataLoader, JobSchedule
from .model import decoder

FOLDER = Path(__file__).resolve().parents[1]
JOB = str(FOLDER / "job")
PEAK_LR = ${decimal(peak)}


def group(pattern: str, **settings: float) -> ParamGroupConfig:
    return ParamGroupConfig(
        pattern=pattern,
        optimizer_name="AdamW",
        optimizer_kwargs={"betas": (${decimal(optimizer.beta1)}, ${decimal(optimizer.beta2)}), "eps": ${decimal(optimizer.eps)}, **settings},
    )


def micro_batch(sequences_per_step: int, at_most: int) -> int:
    """Sequences that a GPU takes at once: as planned, or fewer where the step does not divide so."""
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if sequences_per_step % ranks:
        raise ValueError(
            f"a step has {sequences_per_step} sequences, which {ranks} ranks cannot share. With tensor, pipeline or "
            "context parallelism give --training.local_batch_size yourself"
        )
    each = sequences_per_step // ranks
    return next(size for size in range(min(at_most, each), 0, -1) if each % size == 0)


def stage(*, end_step: int, seq_len: int, sequences_per_step: int, sequences_per_micro_batch: int, last: bool) -> Trainer.Config:
    return Trainer.Config(
        model_spec=decoder(
            family="${decoder.qkNorm === 'head' ? 'qwen3' : 'llama'}",
            vocab_size=${decoder.vocabSize},
            dim=${decoder.hidden},
            n_layers=${decoder.numLayers},
            n_heads=${decoder.numHeads},
            n_kv_heads=${decoder.numKvHeads},
            head_dim=${decoder.headDim},
            hidden_dim=${decoder.ffn},
            norm_eps=${decimal(decoder.norm.eps)},
            tied=${decoder.tied ? 'True' : 'False'},
            rope={"theta": ${decoder.rope.theta}, "max_seq_len": ${decoder.context}${scaling}},
        ),
        hf_assets_path=str(FOLDER / "model"),
        dump_folder=str(FOLDER / "outputs"),
        loss=ChunkedLossWrapper.Config(loss_fn=CrossEntropyLoss.Config(global_vocab_size=${decoder.vocabSize})),
        dataloader=JobDataLoader.Config(job=JOB),
        optimizer=OptimizersContainer.Config(
            param_groups=[
${groups.map((line) => `                ${line},`).join('\n')}
            ]
        ),
        lr_scheduler=JobSchedule.Config(job=JOB),
        training=TrainingConfig(
            local_batch_size=micro_batch(sequences_per_step, sequences_per_micro_batch),
            global_batch_size=sequences_per_step,
            seq_len=seq_len,
            steps=end_step,
            max_norm=${decimal(optimizer.clipNorm)},
            # Master weights are f32; with bfloat16 they are rounded for each pass.
            dtype="float32",
            mixed_precision_param="${precision === 'bf16' ? 'bfloat16' : 'float32'}",
            disable_cuda_graphs=True,
        ),
        checkpoint=CheckpointManager.Config(
            enable=True,
            interval=${checkpoint.everySteps},
            keep_latest_k=${Math.max(2, checkpoint.keep)},
            initial_load_in_hf=True,
            last_save_model_only=last,
            last_save_in_hf=last,
            export_dtype="${precision === 'bf16' ? 'bfloat16' : 'float32'}",
        ),
        activation_checkpoint=SelectiveAC.Config(),
        metrics=MetricsProcessor.Config(log_freq=1),
        validator=Validator.Config(enable=False),
        debug=DebugConfig(seed=${seed}),
    )

${stages
  .map(
    ({ firstStep, endStep, phases, batch }, i) => `
def stage_${i + 1}() -> Trainer.Config:
    """Steps ${firstStep + 1} to ${endStep}: ${phases.map(({ name }) => name).join(', ')}."""
    return stage(
        end_step=${endStep},
        seq_len=${batch.seqLen},
        sequences_per_step=${batch.sequencesPerStep},
        sequences_per_micro_batch=${batch.sequencesPerMicroBatch},
        last=${i === last ? 'True' : 'False'},
    )
`,
  )
  .join('\n')}`;
}

function peakLr(numSteps: number, lrAt: (step: number) => number): number {
  let peak = 0;
  for (let step = 0; step < numSteps; step++) peak = Math.max(peak, lrAt(step));
  return peak;
}

function describe({ job, plan, folder, config }: ExportSource, stages: Stage[]): Exported {
  const { numSteps, precision } = job.job;
  const several = stages.length > 1;
  const train = (torchrun: string) =>
    stages.map((_, i) => `${torchrun} -m torchtitan.train --module ${MODULE} --config stage_${i + 1}`);
  return {
    title: `torchtitan ${VERSION}`,
    intro:
      'A module that torchtitan takes its configuration from. It reads the compiled job through a data loader and an LR schedule of ' +
      "torchtitan's own kinds, so each step trains on what `continuo run` would have trained it on. All commands are given in this folder.",
    files: [
      {
        file: `${MODULE}/config_registry.py`,
        what: `the configuration, a function a stage${several ? '' : ' (here one)'}`,
      },
      { file: `${MODULE}/data.py`, what: 'data loader and LR schedule over the job' },
      { file: `${MODULE}/model.py`, what: 'the model by its sizes' },
      { file: `${MODULE}/job.py`, what: 'reads the job, with canonical.py and errors.py' },
      ...JOB_FILES,
    ],
    commands: [
      {
        heading: 'Install',
        text: 'PyTorch 2.15 as your GPUs need it (https://pytorch.org), then:',
        lines: [`pip install torchtitan==${VERSION} numpy`],
      },
      {
        heading: 'Train',
        text: several
          ? `${stages.length} stages, since steps are cut in ${stages.length} ways: start one after the other; each goes on from the last checkpoint. Interrupted, the same command goes on.`
          : 'Interrupted, the same command goes on from the newest checkpoint in `outputs/checkpoint`, on as many GPUs as then are there.',
        lines: [
          ...train('torchrun --nproc_per_node=1'),
          '# 8 GPUs',
          ...train('torchrun --nproc_per_node=8'),
          '# 2 machines of 8 GPUs, on each of them; HOST is the first',
          ...train('torchrun --nnodes=2 --nproc_per_node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500'),
        ],
      },
      MOVING,
      {
        heading: 'Back to a Hugging Face folder',
        text: 'The last checkpoint has the weights under their Hugging Face names; all else comes from the model.',
        lines: [
          'mkdir trained',
          'cp model/*.json model/*.jinja model/tokenizer.model trained/ 2>/dev/null',
          'rm -f trained/model.safetensors.index.json',
          `cp outputs/checkpoint/step-${numSteps}/*.safetensors* trained/`,
        ],
      },
      { heading: 'Score', lines: [evalCommand(bash(path.join(folder, 'trained')), config)] },
    ],
    carried: [
      {
        what: 'order of data, blend, phases',
        how: 'exact',
        note: `from the job, on any number of GPUs that divides a step (${[...new Set(stages.map(({ batch }) => batch.sequencesPerStep))].join(', ')} sequences)`,
      },
      {
        what: 'documents',
        how: 'exact',
        note: 'attention (flex), positions and loss stay inside; exactly the planned targets bear loss',
      },
      { what: 'LR', how: 'exact', note: 'every step’s, from `job/schedule.f32`' },
      { what: 'AdamW, weight decay, clipping', how: 'exact', note: 'same settings; norms are not decayed' },
      ...(precision === 'bf16'
        ? [
            {
              what: 'bf16',
              how: 'approximate' as const,
              note: 'f32 weights are rounded by FSDP for each pass, gradients are summed in f32; sums in another order',
            },
          ]
        : []),
      ...(plan.checkpoint.keep === 1
        ? [{ what: 'checkpoint.keep', how: 'approximate' as const, note: '2: torchtitan keeps no fewer' }]
        : []),
    ],
    warnings: [],
  };
}
