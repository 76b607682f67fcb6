// What a run is watched for, with the limit of each alarm, where it comes from, and what is done. The detectors are in src/runs/alarms,
// what the limits rest on in docs/alarms.md.
import { ALARM_NAMES, type AlarmAction, type AlarmName, type AlarmsConfig, type Config } from '../config/index.ts';
import { FROM_FILE } from './learning-rates.ts';
import type { ModelFactsForPlan, Reason } from './types.ts';

export interface AlarmSetting {
  /** In the alarm's own unit ({@link AlarmName}); 0 where it has none. */
  limit: number;
  actions: AlarmAction[];
}

export interface AlarmPlan {
  watch: Partial<Record<AlarmName, AlarmSetting>>;
  /** An address, or env:NAME. */
  webhook?: string;
}

interface Default extends AlarmSetting {
  unit: (limit: number) => string;
}

const DEFAULTS: Record<AlarmName, Default> = {
  // Where the limits come from: docs/alarms.md.
  general: { limit: 3, actions: ['note'], unit: (x) => `${x} % above the base` },
  tasks: { limit: 10, actions: ['note'], unit: (x) => `${x} % below the base` },
  writing: { limit: 0, actions: ['note'], unit: () => "worse than the base's" },
  spike: { limit: 6, actions: ['note'], unit: (x) => `${x} standard deviations` },
  gradNorm: { limit: 5, actions: ['note'], unit: (x) => `${x} times the usual` },
  // The weights are whole: that batch left out, the run goes on.
  nonFinite: { limit: 0, actions: ['rollback'], unit: () => 'not a number' },
  experts: { limit: 50, actions: ['note'], unit: (x) => `${x} % of the way to one` },
  overtraining: { limit: 0.5, actions: ['note'], unit: (x) => `${x} % above its best` },
  epochs: { limit: 4, actions: ['note'], unit: (x) => `${x} passes` },
  speed: { limit: 50, actions: ['note'], unit: (x) => `${x} % of the usual` },
  disk: { limit: 2, actions: ['note'], unit: (x) => `room for ${x} checkpoints` },
};

/**
 * @param maxEpochs passes over a corpus that the plan itself allows
 * @param measured what else is measured: an alarm on what is not hears nothing
 */
export function planAlarms(
  { alarms }: Config,
  { experts }: Pick<ModelFactsForPlan, 'experts'>,
  maxEpochs: number,
  measured: { tasks: boolean; samples: boolean },
  reasons: Reason[],
): AlarmPlan | undefined {
  if (!alarms) {
    reasons.push({ what: 'alarms', value: 'none', why: 'as you set it', source: FROM_FILE });
    return undefined;
  }
  const { off, own, webhook } = alarms;
  const idle: Partial<Record<AlarmName, boolean>> = {
    experts: !experts,
    tasks: !measured.tasks,
    writing: !measured.samples,
  };
  const names = ALARM_NAMES.filter((name) => !off.includes(name) && !idle[name]);
  const watch = Object.fromEntries(
    names.map((name): [AlarmName, AlarmSetting] => {
      const { limit, actions } = DEFAULTS[name];
      const usual = name === 'epochs' ? maxEpochs : limit;
      return [name, { limit: own[name]?.limit ?? usual, actions: own[name]?.actions ?? actions }];
    }),
  );
  reasons.push(...explainAlarms(watch, own));
  return { watch, ...(webhook !== undefined && { webhook }) };
}

/** Those as by default in one line, and each that was set. */
function explainAlarms(watch: AlarmPlan['watch'], own: AlarmsConfig['own']): Reason[] {
  const names = ALARM_NAMES.filter((name) => watch[name]);
  const word = (name: AlarmName) => {
    const { limit, actions } = watch[name]!;
    const acts = actions.filter((action) => action !== 'note');
    return `${DEFAULTS[name].unit(limit)}${acts.length > 0 ? ` (${acts.join(', ')})` : ''}`;
  };
  const usual = names.filter((name) => !own[name]);
  return [
    {
      what: 'alarms',
      value: usual.map((name) => `${name} ${word(name)}`).join('; ') || 'none',
      why: 'noted where nothing else is said; none of them is heard in healthy runs',
      source: 'docs/alarms.md, experiments/alarms; epochs: Muennighoff et al. 2023',
    },
    ...names
      .filter((name) => own[name])
      .map((name) => ({ what: `alarm ${name}`, value: word(name), why: 'as you set it', source: FROM_FILE })),
  ];
}
