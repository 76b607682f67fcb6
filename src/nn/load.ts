// Between a checkpoint and a decoder: stacked parameters from named tensors, and back.
import { DataError } from '../base/errors.ts';
import { Rng } from '../base/rng.ts';
import type { ModelSource, TensorToWrite } from '../checkpoint/index.ts';
import type { Kernels } from '../kernels/index.ts';
import { Decoder, type LayerParameters, type ModelParameters } from './decoder.ts';
import { type DecoderConfig, findFamily, type ModelSpecs, type ParameterSpec } from './families/index.ts';
import { allocateFloats, type Parameter, type Precision } from './tensor.ts';

/** Reads f32 values of one checkpoint tensor. */
type ReadTensor = (name: string, length: number) => Float32Array;

/**
 * Builds the decoder of an opened model.
 * @throws ConfigError for an unsupported architecture, DataError for missing or misshapen tensors
 */
export function loadDecoder(source: ModelSource, precision: Precision, kernels: Kernels): Decoder {
  const family = findFamily(source.config);
  const config = family.parse(source.config);
  const specs = family.specs(config);
  checkTensors(source, specs);
  const read: ReadTensor = (name) => source.readF32(name);
  return new Decoder(config, buildParameters(specs, precision, kernels, read), precision, kernels);
}

/** A decoder with random weights: normal, deviation 0.02, narrower by sqrt(2 layers) where a layer writes to the residual stream (Radford et al. 2019). */
export function initDecoder(
  rawConfig: Record<string, unknown>,
  seed: number,
  precision: Precision,
  kernels: Kernels,
): Decoder {
  const family = findFamily(rawConfig);
  const config = family.parse(rawConfig);
  return new Decoder(
    config,
    buildParameters(family.specs(config), precision, kernels, randomReader(config, seed)),
    precision,
    kernels,
  );
}

function randomReader(config: DecoderConfig, seed: number): ReadTensor {
  return (name, length) => {
    const values = new Float32Array(length);
    if (name.includes('norm')) return values.fill(1);
    const writesResidual = /\.(o_proj|down_proj)\./.test(name);
    const deviation = 0.02 / (writesResidual ? Math.sqrt(2 * config.numLayers) : 1);
    const rng = new Rng(seed, name);
    for (let i = 0; i < length; i++) values[i] = rng.normal() * deviation;
    return values;
  };
}

function allSpecs(specs: ModelSpecs): ParameterSpec[] {
  const layers = specs.layers.flatMap((l) => [l.attentionNorm, l.qkv, l.attentionOut, l.ffnNorm, l.gateUp, l.down]);
  return [specs.embedding, ...layers, specs.finalNorm, ...(specs.head ? [specs.head] : [])];
}

function checkTensors(source: ModelSource, specs: ModelSpecs): void {
  const missing: string[] = [];
  for (const spec of allSpecs(specs)) {
    for (const part of spec.parts) {
      const info = source.tensors.get(part.name);
      if (!info) {
        missing.push(part.name);
        continue;
      }
      const expected = spec.isVector ? [spec.cols] : [part.rows, spec.cols];
      if (expected.join() !== info.shape.join())
        throw new DataError(
          source.path,
          `tensor ${part.name}: expected shape [${expected.join(', ')}] from config.json, found [${info.shape.join(', ')}]. The weights and config.json do not belong together.`,
        );
    }
  }
  if (missing.length > 0)
    throw new DataError(
      source.path,
      `${missing.length} tensor(s) that config.json asks for are missing, the first: ${missing.slice(0, 3).join(', ')}. Is a weight file absent?`,
    );
}

function buildParameters(specs: ModelSpecs, precision: Precision, kernels: Kernels, read: ReadTensor): ModelParameters {
  const build = (spec: ParameterSpec): Parameter => {
    const rows = spec.parts.reduce((sum, part) => sum + part.rows, 0);
    const length = rows * spec.cols;
    const parameter: Parameter = {
      parts: spec.parts,
      rows,
      cols: spec.cols,
      isVector: spec.isVector,
      data: allocateFloats(precision, length),
      low: precision === 'bf16' ? new Uint16Array(length) : null,
      grad: null,
      m: null,
      v: null,
    };
    let at = 0;
    for (const part of spec.parts) {
      const size = part.rows * spec.cols;
      setMaster(parameter, at, read(part.name, size), kernels);
      at += size;
    }
    return parameter;
  };
  const embedding = build(specs.embedding);
  const layers = specs.layers.map(
    (layer): LayerParameters => ({
      attentionNorm: build(layer.attentionNorm),
      qkv: build(layer.qkv),
      attentionOut: build(layer.attentionOut),
      ffnNorm: build(layer.ffnNorm),
      gateUp: build(layer.gateUp),
      down: build(layer.down),
    }),
  );
  return { embedding, layers, finalNorm: build(specs.finalNorm), head: specs.head ? build(specs.head) : embedding };
}

function setMaster(parameter: Parameter, at: number, values: Float32Array, kernels: Kernels): void {
  const end = at + values.length;
  if (parameter.data instanceof Float32Array) parameter.data.set(values, at);
  else kernels.splitMaster(parameter.data.subarray(at, end), parameter.low!.subarray(at, end), values);
}

/** The decoder's weights under their checkpoint names: BF16 when trained in bf16, else F32. Rows are views, nothing is copied. */
export function exportTensors(decoder: Decoder): TensorToWrite[] {
  return decoder.list().flatMap((parameter) => {
    let row = 0;
    return parameter.parts.map((part): TensorToWrite => {
      const view = parameter.data.subarray(row * parameter.cols, (row + part.rows) * parameter.cols);
      row += part.rows;
      return {
        name: part.name,
        shape: parameter.isVector ? [parameter.cols] : [part.rows, parameter.cols],
        dtype: decoder.precision === 'bf16' ? 'BF16' : 'F32',
        data: () => new Uint8Array(view.buffer, view.byteOffset, view.byteLength),
      };
    });
  });
}
