// Megatron-LM: its own pretrain_gpt.py, started by a script that puts the job's sequences and LRs in place of Megatron's (order, targets
// and borders exact); and, for who wants upstream commands alone, the corpora as a blend a phase, shuffled and cut by Megatron.
// Read against tag core_v0.19.0 of Megatron-LM and v0.6.0 of Megatron-Bridge.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import { packageRoot } from '../base/package.ts';
import { type PlainDecoder, plainDecoder } from './decoder.ts';
import { JOB_FILES, MOVING, type Stage, stagesOf, writeJobFolder } from './job-folder.ts';
import { type MegatronLr, nearestMegatronLr } from './megatron-lr.ts';
import { hasMasks } from './packed.ts';
import { refuseUnable } from './refuse.ts';
import { bash, decimal, evalCommand } from './script.ts';
import type { Carried, Exported, Exporter, ExportSource } from './types.ts';

const VERSION = 'core_v0.19.0';
const BRIDGE = 'v0.6.0';
const ROPES = ['none', 'llama3'] as const;

export const megatron: Exporter = {
  framework: 'megatron',

  check(source: ExportSource): void {
    refuseUnable(source, 'megatron', ['embeddingLr']);
    readDecoder(source);
  },

  async write(source: ExportSource, folder: string): Promise<Exported> {
    const decoder = readDecoder(source);
    const stages = stagesOf(source.job.job);
    const lr = nearestMegatronLr(lrsOf(source), source.plan.schedule);
    writeJobFolder(source, folder, { framework: 'megatron', module: 'continuo_run', python: ['data.py'] });
    writeFileAtomic(path.join(folder, 'continuo_run', '__init__.py'), '');
    for (const file of ['pretrain_job.py', 'convert.py'])
      fs.copyFileSync(path.join(packageRoot(), 'worker', 'export', 'megatron', file), path.join(folder, file));
    writeFileAtomic(path.join(folder, 'common.sh'), common(source, decoder));
    writeFileAtomic(path.join(folder, 'train.sh'), train(source, stages));
    const blends = stages.length === 1 && !hasMasks(source) ? writeBlends(source, folder, lr.lr) : undefined;
    return describe(source, stages, blends, lr.deviation);
  },
};

function readDecoder({ job, model }: ExportSource): PlainDecoder {
  const seqLen = Math.max(...stagesOf(job.job).map(({ batch }) => batch.seqLen));
  const decoder = plainDecoder(model, { framework: 'Megatron-LM', qkvBias: true, ropes: ROPES, seqLen });
  const { scaling, theta } = decoder.rope;
  const refuse = (what: string) => {
    throw new ConfigError(`${path.join(model, 'config.json')}: Megatron-LM ${what}.`);
  };
  if (!Number.isInteger(theta)) refuse(`takes whole numbers as the base of rotary positions, not ${theta}`);
  if (
    scaling.kind === 'llama3' &&
    (scaling.lowFreqFactor !== 1 || scaling.highFreqFactor !== 4 || scaling.originalContext !== 8192)
  )
    refuse("scales positions as Llama 3.1 does (factors 1 and 4, 8192 positions), not by this model's settings");
  return decoder;
}

function lrsOf({ job }: ExportSource): Float64Array {
  return Float64Array.from({ length: job.job.numSteps }, (_, step) => job.lrAt(step));
}

/** What every start is given; the commands around it say how many GPUs there are. */
function common({ job, plan }: ExportSource, decoder: PlainDecoder): string {
  const { optimizer, checkpoint, seed } = job.job;
  const { rope, biases, qkNorm } = decoder;
  const flags = [
    ...(decoder.numKvHeads === decoder.numHeads
      ? []
      : [`--group-query-attention --num-query-groups ${decoder.numKvHeads}`]),
    ...(decoder.tied ? [] : ['--untie-embeddings-and-output-weights']),
    ...(biases.qkv ? ['--add-qkv-bias'] : []),
    ...(qkNorm === 'head' ? ['--qk-layernorm'] : []),
    ...(rope.scaling.kind === 'llama3'
      ? [`--use-rope-scaling --rope-scaling-factor ${decimal(rope.scaling.factor)}`]
      : []),
  ];
  return `# What every start of ${plan.name.replaceAll('\n', ' ')} is given: sourced by the scripts beside it. Set from outside:
#   MEGATRON    checkout of Megatron-LM (${VERSION})
#   GPUS NODES  processes on this machine (8) and machines (1); with several NODE_RANK (this one's number) and MASTER_ADDR
#   TP PP CP    tensor, pipeline and context parallelism (1 each)
set -euo pipefail
cd "$(dirname "$0")"
: "\${MEGATRON:?name the checkout of Megatron-LM}"
export MEGATRON PYTHONPATH="$PWD:$MEGATRON:\${PYTHONPATH:-}" CUDA_DEVICE_MAX_CONNECTIONS=1
GPUS=\${GPUS:-8} NODES=\${NODES:-1} TP=\${TP:-1} PP=\${PP:-1} CP=\${CP:-1}
# Ranks that read different sequences.
READERS=$((GPUS * NODES / (TP * PP * CP)))

MODEL=(
  --num-layers ${decoder.numLayers} --hidden-size ${decoder.hidden} --ffn-hidden-size ${decoder.ffn}
  --num-attention-heads ${decoder.numHeads} --kv-channels ${decoder.headDim}
  --max-position-embeddings ${decoder.context} --position-embedding-type rope --rotary-base ${rope.theta}
  --normalization RMSNorm --norm-epsilon ${decimal(decoder.norm.eps)} --swiglu --disable-bias-linear
  --attention-dropout 0 --hidden-dropout 0
  --tokenizer-type HuggingFaceTokenizer --tokenizer-model model --padded-vocab-size ${decoder.vocabSize}
${flags.map((flag) => `  ${flag}\n`).join('')})
OPTIMIZER=(
  --optimizer adam --adam-beta1 ${decimal(optimizer.beta1)} --adam-beta2 ${decimal(optimizer.beta2)} --adam-eps ${decimal(optimizer.eps)}
  --weight-decay ${decimal(optimizer.weightDecay)} --clip-grad ${decimal(optimizer.clipNorm)}
  # The mean is over a step's tokens, not over micro-batches.
  --calculate-per-token-loss
)
OTHERS=(
  --bf16 --transformer-impl transformer_engine --use-distributed-optimizer --overlap-grad-reduce --overlap-param-gather
  --tensor-model-parallel-size "$TP" --pipeline-model-parallel-size "$PP" --context-parallel-size "$CP"
  # Attention and positions stay inside documents.
  --dataloader-inter-document-masking --dataloader-type single --num-workers 2
  --seed ${seed} --log-interval 1 --eval-iters 0 --eval-interval 1000000
  # The first start begins with the converted model, later ones with the newest checkpoint.
  --pretrained-checkpoint megatron --load checkpoints --save checkpoints --save-interval ${checkpoint.everySteps} --ckpt-format torch_dist
  --override-opt-param-scheduler
)
if [ "$TP" -gt 1 ]; then OTHERS+=(--sequence-parallel); fi

# SCRIPT END_STEP SEQ_LEN SEQUENCES_A_STEP SEQUENCES_AT_ONCE OPTIONS...
start() {
  local script=$1 end=$2 seq_len=$3 batch=$4 micro=$5
  shift 5
  # Megatron would find no samples left in a stage that is over.
  if [ "$(cat checkpoints/latest_checkpointed_iteration.txt 2>/dev/null || echo 0)" -ge "$end" ]; then return; fi
  if ((batch % READERS)); then
    echo "a step has $batch sequences, which $READERS readers cannot share: change GPUS, NODES, TP, PP or CP" >&2
    exit 1
  fi
  while ((batch / READERS % micro)); do micro=$((micro - 1)); done
  torchrun --nproc-per-node "$GPUS" --nnodes "$NODES" --node-rank "\${NODE_RANK:-0}" --master-addr "\${MASTER_ADDR:-localhost}" \\
    --master-port "\${MASTER_PORT:-29500}" "$script" "\${MODEL[@]}" "\${OPTIMIZER[@]}" "\${OTHERS[@]}" --train-iters "$end" \\
    --seq-length "$seq_len" --global-batch-size "$batch" --micro-batch-size "$micro" "$@"
}
`;
}

function decoupled(factor: number | undefined, peak: number, floor: number): string {
  return factor === undefined || factor === 1
    ? ''
    : ` --decoupled-lr ${decimal(peak * factor)} --decoupled-min-lr ${decimal(floor * factor)}`;
}

function train(source: ExportSource, stages: Stage[]): string {
  const peak = decimal(lrsOf(source).reduce((a, b) => Math.max(a, b)));
  const rates = `--lr ${peak} --min-lr 0.0 --lr-decay-style constant${decoupled(source.job.job.optimizer.embeddingLrFactor, Number(peak), 0)}`;
  return `#!/usr/bin/env bash
# The job's own order and LR of each step. Interrupted, the same command goes on.
. "$(dirname "$0")/common.sh"
# --lr is the peak; the LR of each step is the job's (pretrain_job.py).
${stages
  .map(
    ({
      firstStep,
      endStep,
      phases,
      batch,
    }) => `# Steps ${firstStep} to ${endStep - 1}: ${phases.map(({ name }) => name).join(', ')}
CONTINUO_END_STEP=${endStep} start pretrain_job.py ${endStep} ${batch.seqLen} ${batch.sequencesPerStep} ${batch.sequencesPerMicroBatch} ${rates}
`,
  )
  .join('')}`;
}

/** The corpora as Megatron blends, cuts and shuffles them: a start a phase. Returns how many. */
function writeBlends(source: ExportSource, folder: string, lr: MegatronLr): number {
  const { job } = source.job;
  const { phases, shards } = job;
  const { batch } = stagesOf(job)[0]!;
  const rates = [
    `--lr ${decimal(lr.peak)} --min-lr ${decimal(lr.floor)} --lr-decay-style ${lr.style} --lr-decay-iters ${lr.decaySteps}`,
    ...(lr.warmupSteps > 0 ? [`--lr-warmup-iters ${lr.warmupSteps} --lr-warmup-init ${decimal(lr.warmupFrom)}`] : []),
    ...(lr.style === 'WSD' ? [`--lr-wsd-decay-style ${lr.wsdStyle} --lr-wsd-decay-iters ${lr.wsdSteps}`] : []),
  ].join(' ');
  for (const [i, { blend }] of phases.entries()) {
    const lines = Object.entries(blend)
      .filter(([, share]) => share > 0)
      .flatMap(([corpus, share]) => {
        const numbers = shards.flatMap((shard, n) => (shard.corpus === corpus && shard.split === 'train' ? [n] : []));
        const total = numbers.reduce((sum, n) => sum + shards[n]!.numTokens, 0);
        return numbers.map((n) => `${(share * shards[n]!.numTokens) / total} shards/${n}`);
      });
    writeFileAtomic(path.join(folder, `blend-${i + 1}.txt`), `${lines.join('\n')}\n`);
  }
  writeFileAtomic(
    path.join(folder, 'blend.sh'),
    `#!/usr/bin/env bash
# Megatron's pretrain_gpt.py alone: the corpora in the planned shares, cut and shuffled by Megatron. README.md says what differs.
. "$(dirname "$0")/common.sh"
RATES=(${rates}${decoupled(job.optimizer.embeddingLrFactor, lr.peak, lr.floor)})
${phases
  .map(
    ({ name, firstStep, numSteps }, i) => `# Steps ${firstStep} to ${firstStep + numSteps - 1}: ${name}
start "$MEGATRON/pretrain_gpt.py" ${firstStep + numSteps} ${batch.seqLen} ${batch.sequencesPerStep} ${batch.sequencesPerMicroBatch} "\${RATES[@]}" \\
  --data-args-path blend-${i + 1}.txt --split 100,0,0 --data-cache-path cache-${i + 1} --eod-mask-loss
`,
  )
  .join('')}`,
  );
  return phases.length;
}

function describe(
  { job, folder, config }: ExportSource,
  stages: Stage[],
  blends: number | undefined,
  deviation: number,
): Exported {
  const { precision, phases, heldOutElsewhere } = job.job;
  const numHeldOut = Object.values(heldOutElsewhere).reduce((sum, { numDocuments }) => sum + numDocuments, 0);
  const percent = (share: number) => `${Number((100 * share).toPrecision(2))} %`;
  return {
    title: `Megatron-LM ${VERSION}`,
    intro:
      "Megatron's own `pretrain_gpt.py`, which `pretrain_job.py` gives the job's sequences and LRs instead of its own: each step trains on what `continuo run` would have trained it on." +
      (blends ? ' `blend.sh` is the way by upstream commands alone, with an order of Megatron’s.' : ''),
    files: [
      { file: 'train.sh', what: `the training, ${stages.length} ${stages.length > 1 ? 'starts' : 'start'}` },
      { file: 'common.sh', what: 'model, optimizer and the rest of the arguments' },
      { file: 'pretrain_job.py', what: 'pretrain_gpt.py over the job' },
      { file: 'continuo_run/', what: 'dataset and LR over the job, and its reader' },
      { file: 'convert.py', what: 'checkpoints from and to Hugging Face folders, by Megatron-Bridge' },
      ...(blends
        ? [
            { file: 'blend.sh', what: 'the training by pretrain_gpt.py alone' },
            { file: `blend-1.txt ... blend-${blends}.txt`, what: 'weight and prefix of each corpus, a file a phase' },
          ]
        : []),
      ...JOB_FILES,
    ],
    commands: [
      {
        heading: 'Install',
        text: `NVIDIA's NeMo container has all of it (https://catalog.ngc.nvidia.com/orgs/nvidia/containers/nemo). By hand: Python 3.12, PyTorch and Transformer Engine as your GPUs need them, then:`,
        lines: [
          `git clone --branch ${VERSION} https://github.com/NVIDIA/Megatron-LM`,
          'pip install --no-build-isolation ./Megatron-LM[mlm]',
          `pip install --no-deps "git+https://github.com/NVIDIA-NeMo/Megatron-Bridge@${BRIDGE}"`,
          '# what its conversion imports, in the versions that it asks for',
          'pip install "transformers>=5.8,<=5.12.1" "omegaconf>=2.3.0" "hydra-core>1.3,<=1.3.2" rich "nvidia-modelopt[torch]" nvidia-resiliency-ext',
        ],
      },
      { heading: 'Convert the model', text: 'Once, on one GPU or a processor.', lines: ['python convert.py import'] },
      {
        heading: 'Train',
        text: 'Interrupted, the same command goes on from the newest checkpoint in `checkpoints/`.',
        lines: [
          'export MEGATRON=$PWD/Megatron-LM',
          'GPUS=1 bash train.sh',
          '# 8 GPUs',
          'bash train.sh',
          '# 2 machines of 8 GPUs, on each of them; HOST is the first, NODE_RANK 0 there',
          'NODES=2 NODE_RANK=0 MASTER_ADDR=HOST bash train.sh',
          '# layers split over 2 GPUs',
          'TP=2 bash train.sh',
        ],
      },
      ...(blends
        ? [
            {
              heading: 'Train by upstream commands alone',
              text: `Instead: the corpora's token ids are in Megatron's own format, and \`blend-N.txt\` has their weights.`,
              lines: ['bash blend.sh'],
            },
          ]
        : []),
      MOVING,
      { heading: 'Back to a Hugging Face folder', lines: ['python convert.py export'] },
      { heading: 'Score', lines: [evalCommand(bash(path.join(folder, 'trained')), config)] },
    ],
    carried: [
      {
        what: 'order of data, blend, phases',
        how: 'exact',
        note: `train.sh: from the job, on any number of readers that divides a step (${[...new Set(stages.map(({ batch }) => batch.sequencesPerStep))].join(', ')} sequences)`,
      },
      {
        what: 'documents',
        how: 'exact',
        note: 'train.sh: attention, positions and loss stay inside; exactly the planned targets bear loss',
      },
      { what: 'LR', how: 'exact', note: 'train.sh: every step’s, from `job/schedule.f32`' },
      { what: 'AdamW, weight decay, clipping', how: 'exact', note: 'same settings; biases and norms are not decayed' },
      ...(blends
        ? ([
            {
              what: 'blend.sh: order and blend',
              how: 'approximate',
              note:
                "each phase draws the planned share of samples of each corpus (to one sample); documents are joined end to end, cut into samples and shuffled by Megatron's seed" +
                (phases.length > 1
                  ? '; a phase does not go on in a corpus where the one before stopped, so that some samples come twice and others not at all'
                  : ''),
            },
            ...(numHeldOut > 0
              ? [
                  {
                    what: 'blend.sh: held-out documents',
                    how: 'missing',
                    note: `${numHeldOut} documents are trained on that other corpora hold out or are evaluated on`,
                  },
                ]
              : []),
            {
              what: 'blend.sh: documents',
              how: 'approximate',
              note: 'attention and positions stay inside; what is predicted after an end-of-text token bears no loss (--eod-mask-loss)',
            },
            {
              what: 'blend.sh: LR',
              how: deviation < 1e-6 ? 'exact' : 'approximate',
              note: `at most ${percent(deviation)} of the peak off, over all steps`,
            },
          ] as Carried[])
        : [
            {
              what: 'blend.sh',
              how: 'missing' as const,
              note: 'upstream commands alone cannot follow steps that are cut in several ways, nor conversations of which only answers bear loss',
            },
          ]),
      {
        what: precision === 'bf16' ? 'bf16' : 'f32',
        how: 'approximate',
        note:
          (precision === 'bf16' ? '' : "Megatron's attention inside documents has no f32: ") +
          'weights are rounded to bf16 when converted, masters, moments and gradients are f32; sums in another order',
      },
    ],
    warnings: [],
  };
}
