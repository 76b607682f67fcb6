// Megatron's learning rates (megatron/core/optimizer_param_scheduler.py), also NeMo Automodel's, as a function of the step, and the settings
// that come nearest to the LRs of a job. Megatron's step i trains at f(i), and f(0) is where the warm-up starts; ours trains the first
// step above it: so the warm-up is one step shorter and starts at our first LR.
import type { Schedule } from '../recipe/index.ts';

export interface MegatronLr {
  style: 'constant' | 'linear' | 'cosine' | 'WSD';
  wsdStyle?: 'linear' | 'cosine' | 'exponential' | 'minus_sqrt';
  wsdSteps?: number;
  peak: number;
  floor: number;
  warmupFrom: number;
  warmupSteps: number;
  decaySteps: number;
}

/** LR of step i, counted from 0. */
export function megatronLrAt(lr: MegatronLr, i: number): number {
  const { style, wsdStyle, wsdSteps = 0, peak, floor, warmupFrom, warmupSteps, decaySteps } = lr;
  if (warmupSteps > 0 && i <= warmupSteps) return warmupFrom + ((peak - warmupFrom) * i) / warmupSteps;
  if (style === 'constant') return peak;
  if (i > decaySteps) return floor;
  const share = (i - warmupSteps) / (decaySteps - warmupSteps);
  const start = decaySteps - wsdSteps;
  return (
    floor +
    (peak - floor) *
      (style === 'WSD' ? wsdFactor(wsdStyle, i <= start ? 0 : (i - start) / wsdSteps) : factor(style, share))
  );
}

const factor = (style: 'linear' | 'cosine', share: number) =>
  style === 'linear' ? 1 - share : 0.5 * (Math.cos(Math.PI * share) + 1);

function wsdFactor(style: MegatronLr['wsdStyle'], share: number): number {
  switch (style) {
    case 'exponential':
      return 2 * 0.5 ** share - 1;
    case 'minus_sqrt':
      return 1 - Math.sqrt(share);
    default:
      return factor(style ?? 'linear', share);
  }
}

/** The settings nearest to `lrs` among Megatron's styles, and the largest distance as a share of the peak. */
export function nearestMegatronLr(lrs: Float64Array, schedule: Schedule): { lr: MegatronLr; deviation: number } {
  const numSteps = lrs.length;
  const peak = lrs.reduce((a, b) => Math.max(a, b));
  const lastSteps =
    schedule.kind === 'wsd' ? schedule.decaySteps : schedule.kind === 'infinite' ? schedule.annealSteps : numSteps;
  const wsdSteps = Math.max(1, Math.min(lastSteps, numSteps - schedule.warmupSteps));
  const styles: Pick<MegatronLr, 'style' | 'wsdStyle' | 'wsdSteps'>[] = [
    { style: 'constant' },
    { style: 'cosine' },
    { style: 'linear' },
    ...(['linear', 'cosine', 'exponential', 'minus_sqrt'] as const).map(
      (wsdStyle) => ({ style: 'WSD', wsdStyle, wsdSteps }) as const,
    ),
  ];
  const warmup = Math.max(0, Math.min(schedule.warmupSteps, numSteps - 1) - 1);
  // Ours stays at the peak for a step more than Megatron's: either end may lie a step off.
  const candidates = styles.flatMap((style) =>
    [warmup, ...(warmup > 0 ? [warmup + 1] : [])].flatMap((warmupSteps) =>
      [numSteps - 1, numSteps].map((decaySteps): MegatronLr => {
        const warmupFrom = warmupSteps > 0 ? lrs[0]! : 0;
        const end = Math.max(decaySteps, warmupSteps + 1);
        return { ...style, peak, floor: lrs[numSteps - 1]!, warmupFrom, warmupSteps, decaySteps: end };
      }),
    ),
  );
  const measured = candidates.map((lr) => ({
    lr,
    deviation: lrs.reduce((worst, planned, i) => Math.max(worst, Math.abs(megatronLrAt(lr, i) - planned)), 0) / peak,
  }));
  return measured.reduce((best, one) => (one.deviation < best.deviation ? one : best));
}
