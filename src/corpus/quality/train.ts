// Training of the quality classifier: logistic regression by stochastic gradient descent with AdaGrad (Duchi et al. 2011), then
// calibration (Platt 1999). The same documents and seed give the same bits, in whatever order the documents come.
import { Rng } from '../../base/rng.ts';
import type { FeatureShape } from './features.ts';
import { logitOf, type QualityModel, sigmoid } from './model.ts';
import { reportOn } from './report.ts';

/** What is kept of a document. */
export interface Example {
  /** Orders the examples, whatever order they came in: the text's digest as a number. */
  key: number;
  features: Int32Array;
  isGood: boolean;
}

/** Of each kind: for calibration, and for the report. Assumption. */
const HELD_OUT_SHARE = 0.1;
const EPOCHS = 10;
/** AdaGrad's first step on a weight is as large as this, whatever the gradient. Of 0.1, 0.3, 1 and 3 the first two are worse (docs/LOG.md). */
const LEARNING_RATE = 1;
const EPSILON = 1e-8;

/** @param examples of each kind at least ten, no two with the same key */
export function trainClassifier(examples: readonly Example[], shape: FeatureShape, seed: number): QualityModel {
  const parts = split(examples);
  const weights = new Float32Array(2 ** shape.bits);
  const bias = descend(weights, parts.train, seed);
  const linear = { weights, bias };
  const logits = (list: readonly Example[]) =>
    list.map(({ features, isGood }) => ({ logit: logitOf(linear, features), isGood }));
  const { scale, offset } = calibrate(logits(parts.calibration));
  const scored = logits(parts.test).map(({ logit, isGood }) => ({ score: sigmoid(scale * logit + offset), isGood }));
  return { ...shape, ...linear, scale, offset, report: reportOn(scored, parts.train.length) };
}

function split(examples: readonly Example[]) {
  const parts: Record<'train' | 'calibration' | 'test', Example[]> = { train: [], calibration: [], test: [] };
  for (const isGood of [true, false]) {
    const list = examples.filter((example) => example.isGood === isGood).sort((a, b) => a.key - b.key);
    const n = Math.ceil(HELD_OUT_SHARE * list.length);
    parts.test.push(...list.slice(0, n));
    parts.calibration.push(...list.slice(n, 2 * n));
    parts.train.push(...list.slice(2 * n));
  }
  return parts;
}

/** Either kind weighs as much as the other. @returns the bias */
function descend(weights: Float32Array, train: readonly Example[], seed: number): number {
  const numGood = train.filter(({ isGood }) => isGood).length;
  const weightOf = (isGood: boolean) => train.length / (2 * (isGood ? numGood : train.length - numGood));
  const [ofGood, ofBad] = [weightOf(true), weightOf(false)];
  const squares = new Float32Array(weights.length);
  let [bias, biasSquares] = [0, 0];
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    for (const i of new Rng(seed, 'quality', epoch).shuffle(Int32Array.from(train.keys()))) {
      const { features, isGood } = train[i]!;
      const error = sigmoid(logitOf({ weights, bias }, features)) - (isGood ? 1 : 0);
      const gradient = error * (isGood ? ofGood : ofBad);
      const each = gradient / Math.max(1, features.length);
      for (let k = 0; k < features.length; k++) {
        const feature = features[k]!;
        squares[feature]! += each * each;
        weights[feature]! -= (LEARNING_RATE * each) / (Math.sqrt(squares[feature]!) + EPSILON);
      }
      biasSquares += gradient * gradient;
      bias -= (LEARNING_RATE * gradient) / (Math.sqrt(biasSquares) + EPSILON);
    }
  }
  return bias;
}

interface Logit {
  logit: number;
  isGood: boolean;
}

const NEWTON_STEPS = 50;
/** Keeps a step finite where the kinds are apart. */
const RIDGE = 1e-6;

/** Newton's method on the log loss, with Platt's targets, which keep the scale finite where the kinds are apart. */
function calibrate(logits: readonly Logit[]): { scale: number; offset: number } {
  const numGood = logits.filter(({ isGood }) => isGood).length;
  const numBad = logits.length - numGood;
  // A target moves towards one half by as much as one document of the other kind would.
  const [targetGood, targetBad] = [(numGood + 1) / (numGood + 2), 1 / (numBad + 2)];
  let [scale, offset] = [1, 0];
  let loss = Infinity;
  const lossOf = (a: number, b: number) =>
    logits.reduce((sum, { logit, isGood }) => {
      const [z, target] = [a * logit + b, isGood ? targetGood : targetBad];
      // -t log s(z) - (1 - t) log(1 - s(z)), without overflow.
      return sum + (Math.log1p(Math.exp(-Math.abs(z))) + Math.max(z, 0) - target * z) / (isGood ? numGood : numBad);
    }, 0);
  for (let step = 0; step < NEWTON_STEPS; step++) {
    let [ga, gb, haa, hab, hbb] = [0, 0, RIDGE, 0, RIDGE];
    for (const { logit, isGood } of logits) {
      const p = sigmoid(scale * logit + offset);
      const weight = 1 / (isGood ? numGood : numBad);
      const error = weight * (p - (isGood ? targetGood : targetBad));
      const curvature = weight * p * (1 - p);
      ga += error * logit;
      gb += error;
      haa += curvature * logit * logit;
      hab += curvature * logit;
      hbb += curvature;
    }
    const determinant = haa * hbb - hab * hab;
    const [da, db] = [(hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant];
    let size = 1;
    while (size > 1e-6 && !(lossOf(scale - size * da, offset - size * db) <= loss)) size /= 2;
    const next = lossOf(scale - size * da, offset - size * db);
    if (!(next < loss - 1e-12)) break;
    loss = next;
    scale -= size * da;
    offset -= size * db;
  }
  return { scale, offset };
}
