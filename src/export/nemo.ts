// NeMo Automodel 0.7: the part of NeMo that trains Hugging Face folders as they are. A YAML file, whose dataset is a class over the job
// (order, targets and borders exact), and a script that also takes the LR of each step from the job.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import { packageRoot } from '../base/package.ts';
import { hasWindows, packableDecoder } from './decoder.ts';
import { JOB_FILES, MOVING, stagesOf, writeJobFolder } from './job-folder.ts';
import { type MegatronLr, nearestMegatronLr } from './megatron-lr.ts';
import { refuseUnable } from './refuse.ts';
import { bash, decimal, evalCommand, quoted, refuseDropout } from './script.ts';
import type { Exported, Exporter, ExportSource } from './types.ts';

const VERSION = '0.7.0';

export const nemo: Exporter = {
  framework: 'nemo',

  check(source: ExportSource): void {
    refuseUnable(source, 'nemo', ['embeddingLr']);
    const decoder = packableDecoder(source, 'nemo');
    // Its mask of documents takes the place of a layer's window, and PyTorch's attention has no soft caps.
    if (hasWindows(decoder, source.job) || decoder.attentionSoftcap > 0)
      throw new ConfigError(
        `${path.join(source.model, 'config.json')}: NeMo Automodel would leave out this model's ${decoder.attentionSoftcap > 0 ? 'soft caps of attention' : 'sliding windows'}. Export for trl, axolotl or llama-factory, or train by \`continuo run\` (engine: torch for many GPUs, docs/torch.md).`,
      );
    refuseDropout(source.model, 'NeMo Automodel');
    if (stagesOf(source.job.job).length > 1)
      throw new ConfigError(
        'phases: some have a seqLen of their own. NeMo Automodel has one sequence length a run. Give all phases the same one, or export for torchtitan or megatron.',
      );
  },

  async write(source: ExportSource, folder: string): Promise<Exported> {
    const lrs = Float64Array.from({ length: source.job.job.numSteps }, (_, step) => source.job.lrAt(step));
    const { lr, deviation } = nearestMegatronLr(lrs, source.plan.schedule);
    writeJobFolder(source, folder, { framework: 'nemo', module: 'continuo_run', python: ['data.py'] });
    writeFileAtomic(path.join(folder, 'continuo_run', '__init__.py'), '');
    fs.copyFileSync(path.join(packageRoot(), 'worker', 'export', 'nemo', 'train.py'), path.join(folder, 'train.py'));
    writeFileAtomic(path.join(folder, 'config.yaml'), configuration(source, lr));
    return describe(source, deviation);
  },
};

/** Sequences in a pass: as planned, or fewer where the share of one of 8 GPUs does not divide so. */
function atOnce(sequencesPerStep: number, planned: number): number {
  const share = sequencesPerStep % 8 === 0 ? sequencesPerStep / 8 : 1;
  for (let size = Math.min(planned, share); ; size--) if (share % size === 0) return size;
}

function configuration({ job, plan }: ExportSource, lr: MegatronLr): string {
  const { optimizer, checkpoint, seed, numSteps, precision } = job.job;
  const { batch } = stagesOf(job.job)[0]!;
  const { embeddingLrFactor = 1 } = optimizer;
  return `# ${plan.name.replaceAll('\n', ' ')}, for NeMo Automodel ${VERSION}. See README.md; paths are relative to this folder.
recipe: TrainFinetuneRecipeForNextTokenPrediction
seed: ${seed}

step_scheduler:
  global_batch_size: ${batch.sequencesPerStep}
  # On each GPU, in one pass. Any divisor of a GPU's share of a step: it changes memory and speed, not the result.
  local_batch_size: ${atOnce(batch.sequencesPerStep, batch.sequencesPerMicroBatch)}
  max_steps: ${numSteps}
  num_epochs: 1
  ckpt_every_steps: ${checkpoint.everySteps}

dist_env:
  backend: nccl
  timeout_minutes: 30

model:
  _target_: nemo_automodel.NeMoAutoModelForCausalLM.from_pretrained
  pretrained_model_name_or_path: model
  # Master weights are f32${precision === 'bf16' ? '; FSDP, on several GPUs, rounds them to bf16 for each pass' : ''}.
  torch_dtype: float32
  # Of transformers' own models attention takes the mask that keeps documents apart.
  force_hf: true
  attn_implementation: sdpa

distributed:
  strategy: fsdp2
  tp_size: 1
  cp_size: 1
  activation_checkpointing: true
${
  precision === 'bf16'
    ? ''
    : `  mp_policy:
    _target_: torch.distributed.fsdp.MixedPrecisionPolicy
    param_dtype: float32
    reduce_dtype: float32
`
}
loss_fn:
  _target_: nemo_automodel.components.loss.masked_ce.MaskedCrossEntropy

dataset:
  _target_: continuo_run.data.JobDataset
  job: job
  shards: shards

# Sequences come packed: nothing is to be done to them.
packed_sequence:
  packed_sequence_size: ${batch.seqLen}
  packing_strategy: neat
  prepacked: true

dataloader:
  _target_: torchdata.stateful_dataloader.StatefulDataLoader
  collate_fn:
    _target_: nemo_automodel.components.datasets.utils.neat_packed_collater
  shuffle: false

optimizer:
  _target_: torch.optim.AdamW
  lr: ${decimal(lr.peak)}
  betas: [${decimal(optimizer.beta1)}, ${decimal(optimizer.beta2)}]
  eps: ${decimal(optimizer.eps)}
  weight_decay: ${decimal(optimizer.weightDecay)}
  param_group_overrides:
    - { pattern: ${quoted('norm|\\.ln_|bias$')}, wd_mult: 0.0 }
${embeddingLrFactor === 1 ? '' : `    - { pattern: ${quoted('embed_tokens|lm_head|\\.wte\\.|embed_in|embed_out')}, lr_mult: ${decimal(embeddingLrFactor)} }\n`}
# As near as its styles come to the plan's; train.py takes the LR of each step from the job instead.
lr_scheduler:
  lr_decay_style: ${lr.style}
  max_lr: ${decimal(lr.peak)}
  min_lr: ${decimal(lr.floor)}
  init_lr: ${decimal(lr.warmupFrom)}
  lr_warmup_steps: ${lr.warmupSteps}
  lr_decay_steps: ${lr.decaySteps}
${lr.style === 'WSD' ? `  lr_wsd_decay_style: ${lr.wsdStyle}\n  wsd_decay_steps: ${lr.wsdSteps}\n` : ''}
clip_grad_norm:
  max_norm: ${decimal(optimizer.clipNorm)}

checkpoint:
  enabled: true
  checkpoint_dir: checkpoints
  model_save_format: safetensors
  # The last one as a Hugging Face folder.
  save_consolidated: final
  max_recent_checkpoints: ${Math.max(1, checkpoint.keep)}
`;
}

function describe({ job, folder, config }: ExportSource, deviation: number): Exported {
  const { precision } = job.job;
  const { batch } = stagesOf(job.job)[0]!;
  const percent = `${Number((100 * deviation).toPrecision(2))} %`;
  return {
    title: `NeMo Automodel ${VERSION}`,
    intro:
      'NeMo Automodel, which trains Hugging Face folders without converting them. Its dataset reads the compiled job, so each step trains on what `continuo run` would have trained it on. All commands are given in this folder.',
    files: [
      { file: 'config.yaml', what: 'the configuration' },
      { file: 'train.py', what: "the training, with the job's LR in each step" },
      { file: 'continuo_run/', what: 'dataset and LR over the job, and its reader' },
      ...JOB_FILES,
    ],
    commands: [
      {
        heading: 'Install',
        text: 'PyTorch 2.10 as your GPUs need it (https://pytorch.org; one of its kernels is refused by the Triton of 2.15), then:',
        lines: [`pip install nemo-automodel==${VERSION}`],
      },
      {
        heading: 'Train',
        text: 'Interrupted, the same command goes on from the newest checkpoint in `checkpoints/`, on as many GPUs as before.',
        lines: [
          'torchrun --nproc-per-node=1 train.py',
          '# 8 GPUs',
          'torchrun --nproc-per-node=8 train.py',
          '# 2 machines of 8 GPUs, on each of them; HOST is the first',
          'torchrun --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 train.py',
          "# by Automodel's own command, with its nearest LR",
          'NEMO_ENABLE_USER_MODULES=1 PYTHONPATH=. automodel config.yaml --nproc-per-node 8',
        ],
      },
      MOVING,
      {
        heading: 'Score',
        text: 'The last checkpoint is also a Hugging Face folder.',
        lines: [
          evalCommand(
            `"$(ls -dt ${bash(path.join(folder, 'checkpoints'))}/epoch_*/model/consolidated | head -1)"`,
            config,
          ),
        ],
      },
    ],
    carried: [
      {
        what: 'order of data, blend, phases',
        how: 'exact',
        note: `from the job, on any number of GPUs that divides a step (${batch.sequencesPerStep} sequences)`,
      },
      {
        what: 'documents',
        how: 'exact',
        note: 'attention (a mask of a sequence by a sequence), positions and loss stay inside; exactly the planned targets bear loss',
      },
      {
        what: 'LR',
        how: 'exact',
        note: `train.py: every step’s, from \`job/schedule.f32\`; \`automodel config.yaml\`: at most ${percent} of the peak off, over all steps`,
      },
      { what: 'AdamW, weight decay, clipping', how: 'exact', note: 'same settings; biases and norms are not decayed' },
      ...(precision === 'bf16'
        ? [
            {
              what: 'bf16',
              how: 'approximate' as const,
              note: 'on several GPUs f32 weights are rounded by FSDP for each pass; on one, where Automodel has no FSDP, all is computed in f32; sums in another order',
            },
          ]
        : []),
    ],
    warnings: [],
  };
}
