// The quality classifier: logistic regression on the mean weight of a text's features, its score calibrated on documents that it was not
// trained on. One JSON file, the weights in base64 of little-endian float32.
import { DataError } from '../../base/errors.ts';
import { readJson, writeFileAtomic } from '../../base/files.ts';
import { type FeatureShape, featuresOf } from './features.ts';
import type { QualityReport } from './report.ts';

const FORMAT = 'continuo-quality-1';

export interface QualityModel extends FeatureShape {
  /** One for each feature. */
  weights: Float32Array;
  bias: number;
  /** Calibration (Platt 1999): probability = sigmoid(scale x logit + offset). */
  scale: number;
  offset: number;
  /** On documents held out from training and calibration. */
  report: QualityReport;
}

/** Before calibration. */
export function logitOf(model: Pick<QualityModel, 'weights' | 'bias'>, features: Int32Array): number {
  let sum = 0;
  for (let i = 0; i < features.length; i++) sum += model.weights[features[i]!]!;
  return model.bias + sum / Math.max(1, features.length);
}

/** How likely `text` is one of the good, where good and bad are as frequent as each other: 0 to 1. */
export function scoreText(model: QualityModel, text: string): number {
  return sigmoid(model.scale * logitOf(model, featuresOf(text, model)) + model.offset);
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x));
}

export function saveQualityModel(file: string, model: QualityModel): void {
  const { weights, ...rest } = model;
  const bytes = Buffer.alloc(4 * weights.length);
  for (const [i, weight] of weights.entries()) bytes.writeFloatLE(weight, 4 * i);
  writeFileAtomic(file, `${JSON.stringify({ format: FORMAT, ...rest, weights: bytes.toString('base64') })}\n`);
}

/** @throws ConfigError where the file is missing; DataError where it holds something else */
export function loadQualityModel(file: string): QualityModel {
  const read = readJson<Partial<Omit<QualityModel, 'weights'>> & { format?: unknown; weights?: unknown }>(
    file,
    'reading the quality model',
  );
  const wrong = (what: string) =>
    new DataError(file, `not a quality model: ${what}. Make one with \`continuo data classify\`.`);
  if (read === null || typeof read !== 'object' || read.format !== FORMAT)
    throw wrong(`expected "format": "${FORMAT}", found ${JSON.stringify(read?.format)?.slice(0, 40) ?? 'none'}`);
  const { bits, charNgram, bias, scale, offset, report, weights } = read;
  const isCount = (value: unknown, most: number): value is number =>
    Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most;
  if (!isCount(bits, 30) || bits === 0 || !isCount(charNgram, 100)) throw wrong('bits or charNgram out of range');
  for (const value of [bias, scale, offset]) if (!Number.isFinite(value)) throw wrong('a number is missing');
  if (typeof weights !== 'string' || report === undefined) throw wrong('weights or report are missing');
  const bytes = Buffer.from(weights, 'base64');
  if (bytes.length !== 4 * 2 ** bits)
    throw wrong(`expected ${4 * 2 ** bits} bytes of weights, found ${bytes.length}; the file may be cut off`);
  const values = new Float32Array(2 ** bits);
  for (let i = 0; i < values.length; i++) values[i] = bytes.readFloatLE(4 * i);
  if (!values.every(Number.isFinite)) throw wrong('a weight is not a number');
  return { bits, charNgram, bias: bias!, scale: scale!, offset: offset!, report, weights: values };
}
