// The score of a classifier that the user has trained on examples of their own (src/corpus/quality).
import type { CleanOptions } from '../../../config/index.ts';
import { loadQualityModel, scoreText } from '../../quality/model.ts';
import type { Step } from '../types.ts';
import { below } from './limits.ts';

/** Without `min` documents are scored and stay. */
export function quality({ model: file, min = 0 }: CleanOptions<'quality'>): Step {
  const model = loadQualityModel(file);
  return {
    name: 'quality',
    apply({ text }) {
      const score = Math.round(scoreText(model, text) * 1e4) / 1e4;
      return below('low quality', score, min) ?? { metadata: { quality: score } };
    },
  };
}
