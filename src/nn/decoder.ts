// One decoder for every family: a model is its parameters and this forward pass; the tape derives the backward pass.
import type { Kernels } from '../kernels/index.ts';
import type { DecoderConfig } from './families/index.ts';
import { type AttentionSizes, attention, type Layout, rotary } from './ops/attention.ts';
import { crossEntropyHead } from './ops/cross-entropy.ts';
import { embedding } from './ops/embedding.ts';
import { linear } from './ops/linear.ts';
import { rmsNorm } from './ops/rms-norm.ts';
import { swiglu } from './ops/swiglu.ts';
import { BufferPool } from './pool.ts';
import { type RopeTable, ropeTable } from './rope.ts';
import { Tape } from './tape.ts';
import type { Activation, Parameter, Precision } from './tensor.ts';

export interface LayerParameters {
  attentionNorm: Parameter;
  qkv: Parameter;
  attentionOut: Parameter;
  ffnNorm: Parameter;
  gateUp: Parameter;
  down: Parameter;
}

export interface ModelParameters {
  embedding: Parameter;
  layers: LayerParameters[];
  finalNorm: Parameter;
  /** The embedding itself when tied. */
  head: Parameter;
}

/** Token rows of `batch` sequences of `seqLen`, all arrays [batch * seqLen]. */
export interface Batch {
  batch: number;
  seqLen: number;
  inputs: Int32Array;
  /** -1 where nothing is predicted. */
  targets: Int32Array;
  /** Index inside the sequence where the token's document begins. */
  docStart: Int32Array;
}

export class Decoder {
  readonly config: DecoderConfig;
  readonly parameters: ModelParameters;
  readonly precision: Precision;
  readonly kernels: Kernels;
  private readonly pool = new BufferPool();
  private rope: RopeTable | undefined;
  private ropePositions = 0;

  constructor(config: DecoderConfig, parameters: ModelParameters, precision: Precision, kernels: Kernels) {
    this.config = config;
    this.parameters = parameters;
    this.precision = precision;
    this.kernels = kernels;
  }

  /** Every parameter once, in checkpoint order. */
  list(): Parameter[] {
    const { embedding: table, layers, finalNorm, head } = this.parameters;
    const inner = layers.flatMap((l) => [l.attentionNorm, l.qkv, l.attentionOut, l.ffnNorm, l.gateUp, l.down]);
    return [table, ...inner, finalNorm, ...(head === table ? [] : [head])];
  }

  /** Bytes of activations held for reuse. */
  get activationBytes(): number {
    return this.pool.sizeBytes;
  }

  /** Adds the gradient of sum(weights * loss) to every parameter's grad and returns each token's loss, nats, [rows]. */
  trainBatch(batch: Batch, weights: Float32Array): Float32Array {
    return this.losses(batch, weights, true);
  }

  /** Each token's loss in nats, [rows]; 0 where nothing is predicted. */
  scoreBatch(batch: Batch): Float32Array {
    return this.losses(batch, new Float32Array(batch.inputs.length), false);
  }

  /** All logits as f32, [rows, vocabulary]: for comparisons and short texts. */
  logits(batch: Batch): Float32Array {
    const tape = new Tape(this.kernels, this.pool, this.precision, false);
    const x = this.hidden(tape, batch);
    const { head } = this.parameters;
    const logits = new Float32Array(x.rows * head.rows);
    this.kernels.gemm(logits, x.data, head.data, x.rows, head.rows, head.cols, false, true, null, null);
    tape.release(x);
    return logits;
  }

  private losses(batch: Batch, weights: Float32Array, training: boolean): Float32Array {
    const tape = new Tape(this.kernels, this.pool, this.precision, training);
    const losses = new Float32Array(batch.inputs.length);
    const x = this.hidden(tape, batch);
    crossEntropyHead(tape, losses, x, this.parameters.head, batch.targets, weights);
    tape.backward();
    tape.release(x);
    return losses;
  }

  private hidden(tape: Tape, batch: Batch): Activation {
    const { config, parameters } = this;
    const layout = this.layout(batch);
    let x = embedding(tape, batch.inputs, parameters.embedding);
    for (const layer of parameters.layers) {
      const input = x;
      x = tape.scope(() => this.layer(tape, input, layer, layout));
      tape.release(input);
    }
    const last = x;
    x = tape.scope(() => rmsNorm(tape, last, parameters.finalNorm, config.normEps));
    tape.release(last);
    return x;
  }

  private layer(tape: Tape, x: Activation, layer: LayerParameters, layout: Layout): Activation {
    const sizes: AttentionSizes = this.config;
    const normed = rmsNorm(tape, x, layer.attentionNorm, this.config.normEps);
    const qkv = linear(tape, normed, layer.qkv);
    rotary(tape, qkv, this.rope!, layout, sizes);
    const mixed = linear(tape, attention(tape, qkv, layout, sizes), layer.attentionOut, x);
    const ffnInput = rmsNorm(tape, mixed, layer.ffnNorm, this.config.normEps);
    return linear(tape, swiglu(tape, linear(tape, ffnInput, layer.gateUp)), layer.down, mixed);
  }

  private layout(batch: Batch): Layout {
    const { seqLen } = batch;
    if (this.ropePositions < seqLen) {
      this.rope = ropeTable(this.config.headDim, this.config.ropeTheta, this.config.ropeScaling, seqLen);
      this.ropePositions = seqLen;
    }
    const positions = batch.docStart.map((start, i) => (i % seqLen) - start);
    return { batch: batch.batch, seqLen, docStart: batch.docStart, positions };
  }
}
