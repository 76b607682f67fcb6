// Online data mixing (Albalak et al. 2023, arXiv 2312.02406): corpora are the arms of a bandit, a corpus' training loss is its reward, and
// EXP3 trades trying against taking. Checked against alon-albalak/online-data-mixing, megatron/data/data_sampling_utils.py.
//
// There each iteration draws one corpus at random and its reward is divided by the probability of that draw. Here every step holds all
// corpora in their exact shares, so the expectation of that estimate is known and is taken in its place: the loss of each step, once.
import { latestMeans, type Mixer } from './types.ts';

/** The code's scale: losses of 0 to 10 nats become rewards of 0 to 1. */
const NATS_A_REWARD = 10;

export interface OdmState {
  /** Sum of rewards over all steps. */
  rewards: number[];
  /** Mean loss of the corpus when it was last drawn; null: it never was. */
  last: (number | null)[];
}

export const odm: Mixer<OdmState> = ({ corpora }, history, _weights, state) => {
  const { step, since, losses } = history;
  const latest = latestMeans(losses, history, state?.last);
  if (!latest) return undefined;
  const { means, last } = latest;
  const rewards = means.map((mean, k) => (state?.rewards[k] ?? 0) + ((step - since) * mean) / NATS_A_REWARD);
  const explored = exploration(corpora.length, step);
  const most = Math.max(...rewards);
  const powers = rewards.map((reward) => Math.exp((reward - most) * explored));
  const sum = powers.reduce((total, power) => total + power, 0);
  const weights = powers.map((power) => ((1 - corpora.length * explored) * power) / sum + explored);
  return { weights, state: { rewards, last } };
};

/** Share that every one of K corpora keeps after t steps; also the exponent's scale. */
function exploration(numCorpora: number, t: number): number {
  return Math.min(1 / numCorpora, Math.sqrt(Math.log(numCorpora) / (numCorpora * t)));
}
