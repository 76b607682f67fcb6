// How many bytes of activations training takes, found by running the model's own code with kernels that do nothing on a pool that only
// counts: what it says is what the pool of a real run holds, for every family.
import type { Kernels } from '../kernels/index.ts';
import { Decoder } from './decoder.ts';
import { findFamily, mapParameters, type ParameterSpec } from './families/index.ts';
import { BufferPool } from './pool.ts';
import { allocateFloats, type Parameter, type Precision } from './tensor.ts';

const idle = new Proxy({} as Kernels, { get: () => () => 0 });

/**
 * @param rawConfig a model's config.json
 * @param pass sequences a forward pass, and their length
 * @returns bytes that the pool holds once a step and an evaluation were made
 */
export function countActivations(
  rawConfig: Record<string, unknown>,
  { batch, seqLen, precision }: { batch: number; seqLen: number; precision: Precision },
): number {
  const family = findFamily(rawConfig);
  const config = family.parse(rawConfig);
  const specs = family.specs(config, () => false);
  const pool = new BufferPool((kind) => allocateFloats(kind, 0));
  const decoder = new Decoder(config, mapParameters(specs, emptyParameter), precision, idle, pool);
  const pass = (sequences: number) => {
    const ids = () => new Int32Array(sequences * length);
    return { batch: sequences, seqLen: length, inputs: ids(), targets: ids(), docStart: ids() };
  };
  // Longer sequences than a table of positions has rows are refused by the planner; here they are counted as if cut.
  const length = config.learnedPositions ? Math.min(seqLen, config.context) : seqLen;
  decoder.trainBatch(pass(batch), new Float32Array(0));
  // The last batch of a held-out set may be smaller than the others.
  decoder.scoreBatch(pass(batch));
  decoder.scoreBatch(pass(1));
  return pool.sizeBytes;
}

function emptyParameter(spec: ParameterSpec): Parameter {
  const rows = spec.parts.reduce((sum, part) => sum + part.rows, 0);
  const grad = new Float32Array(0);
  return { ...spec, rows, data: grad, low: null, grad, m: null, v: null };
}
