// What the three frameworks that train by transformers' Trainer have in common.
import { ConfigError } from '../base/errors.ts';
import { rowsPerStep } from './rows.ts';
import type { Carried, ExportSource } from './types.ts';

/** accelerate's configuration of 8 GPUs of one machine. */
export function fsdpYaml({ job }: ExportSource): string {
  return `# accelerate: FSDP2 on the 8 GPUs of one machine.
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_cpu_ram_efficient_loading: true
  fsdp_offload_params: false
  fsdp_reshard_after_forward: true
  fsdp_state_dict_type: FULL_STATE_DICT
machine_rank: 0
mixed_precision: ${job.job.precision === 'bf16' ? 'bf16' : 'no'}
num_machines: 1
num_processes: 8
rdzv_backend: static
same_network: true
use_cpu: false
`;
}

/** What is carried over whole: order, documents, LR, optimizer. */
export function carriedByTrainer({ job }: ExportSource, size: number, documents: string): Carried[] {
  const rows = rowsPerStep(job, size);
  const { embeddingLrFactor = 1 } = job.job.optimizer;
  return [
    {
      what: 'order of data, blend, phases',
      how: 'exact',
      note: `a step reads ${rows} rows of ${size} tokens in the order in which they lie; the devices have to divide ${rows}`,
    },
    { what: 'documents', how: 'exact', note: `attention, positions and loss stay inside; ${documents}` },
    {
      what: 'LR',
      how: 'exact',
      note: `every step’s, from \`lr.f32\`${embeddingLrFactor === 1 ? '' : ', and the share of it that the embedding and output matrices have'}`,
    },
    { what: 'loss', how: 'exact', note: 'mean over all predicted tokens of a step, on however many devices' },
    {
      what: 'AdamW, weight decay, clipping',
      how: 'exact',
      note: 'same settings; weights and moments in f32; biases and norms are not decayed',
    },
    ...(job.job.precision === 'bf16'
      ? [
          {
            what: 'bf16',
            how: 'approximate' as const,
            note: 'autocast rounds products’ inputs to bf16, we weights and activations: losses agree to bf16’s accuracy, not bit for bit',
          },
        ]
      : []),
  ];
}

/**
 * Python that keeps accelerate's FSDP2 from summing gradients in bf16, as its own policy does (1.15, set_mixed_precision).
 * @param trainer its name
 */
export const sumsInF32 = (trainer: string, indent = ''): string =>
  [
    '# Gradients of several devices are summed in f32.',
    `fsdp = getattr(${trainer}.accelerator.state, "fsdp_plugin", None)`,
    `if fsdp is not None and fsdp.fsdp_version == 2 and ${trainer}.args.bf16:`,
    '    fsdp.mixed_precision_policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)',
  ]
    .map((line) => `${indent}${line}\n`)
    .join('');

/** What to do before training elsewhere. */
export const moving = (file: string): string =>
  `To train on another machine copy this folder and the model, and set the model’s path in \`${file}\`.`;

/** Python that stops a training whose steps would read other rows than planned. */
export function rowsCheck(): string {
  return `def check_rows(args):
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    if rows != ROWS_PER_STEP:
        raise SystemExit(f"A step would read {rows} rows, the plan has {ROWS_PER_STEP}: look at the batch and at how many devices are seen.")
`;
}

/** @throws ConfigError where a row would need a position behind the model's last */
export function refuseWithoutRoom({ job, plan }: ExportSource): void {
  const longest = Math.max(...job.job.phases.map(({ batch = job.job.batch }) => batch.seqLen));
  if (plan.model.family === 'gpt2' && longest >= plan.model.context)
    throw new ConfigError(
      `training.seqLen: sequences of ${longest} tokens fill all ${plan.model.context} positions that this model has; this export needs one more, from which nothing is predicted. Set it to ${plan.model.context - 1} or less.`,
    );
}
