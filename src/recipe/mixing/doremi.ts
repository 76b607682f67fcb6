// DoReMi (Xie et al. 2023, arXiv 2305.10429): what a model has not yet learned of a corpus, of what a reference model shows can be learned,
// decides its share. Checked against sangmichaelxie/doremi, doremi/trainer.py:
//   excess_i = mean over the corpus' tokens of max(0, loss - reference's loss)
//   a_i <- (1 - c) a_i exp(eta excess_i) / sum_j a_j exp(eta excess_j) + c / K
// There all corpora are drawn in fixed shares and a_i weighs their losses; here a_i are the shares that are drawn, which have the same
// expected gradient. Sheared LLaMA (Xia et al. 2023, arXiv 2310.06694, "dynamic batch loading") moves shares by the same rule.
import { latestMeans, type Mixer, tilted } from './types.ts';

/** c: the paper's, and that of the code's run scripts; the code's own default is 1e-4. */
const SMOOTHING = 1e-3;

export interface DoremiState {
  /** Mean excess of the corpus when it was last drawn, as the code keeps it; null: it never was. */
  last: (number | null)[];
}

/** @param rate eta; the paper's and the code's is 1 */
export const doremi: Mixer<DoremiState> = ({ corpora, rate }, history, weights, state) => {
  const latest = latestMeans(history.excess, history, state?.last);
  if (!latest) return undefined;
  const moved = tilted(
    weights,
    latest.means.map((excess) => rate * excess),
  );
  return {
    weights: moved.map((weight) => (1 - SMOOTHING) * weight + SMOOTHING / corpora.length),
    state: { last: latest.last },
  };
};
