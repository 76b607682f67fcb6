// What a run is watched for and what is done about it, as schema and as types. The detectors, with the sources of their default limits, are
// in src/runs/alarms; the options stand below that layer, so that a wrong one is reported with its line and column.
import { z } from 'zod';
import { map, number, oneOf, positive, text, truth } from './fields.ts';

/** note: no more than the record that every alarm leaves. */
export const ALARM_ACTIONS = [
  'note',
  'checkpoint',
  'lower-lr',
  'raise-replay',
  'rollback',
  'pause',
  'stop',
  'webhook',
] as const;
export type AlarmAction = (typeof ALARM_ACTIONS)[number];

const percent = number('percent above 0', (x) => x > 0);
const percentBelow100 = number('percent above 0, below 100', (x) => x > 0 && x < 100);
const moreThanOne = number('a number above 1', (x) => x > 1);

/** The limit of each alarm that has one. */
const LIMITS = {
  /** Rise of a general set's bits per byte over the base, percent. */
  general: { above: percent },
  /** Fall of a task's score below the base's, percent. */
  tasks: { below: percentBelow100 },
  writing: {},
  /** Standard deviations of the loss. */
  spike: { above: positive },
  /** Times what is usual. */
  gradNorm: { above: moreThanOne },
  nonFinite: {},
  /** Share of a layer's tokens that one expert gets beyond an even one, percent of what it could. */
  experts: { above: percentBelow100 },
  /** Rise of a domain set's bits per byte over its best, percent. */
  overtraining: { above: percent },
  /** Passes over a corpus. */
  epochs: { above: positive },
  /** Percent of the usual tokens a second. */
  speed: { below: percentBelow100 },
  /** Checkpoints that still fit. */
  disk: { below: positive },
} as const;

export type AlarmName = keyof typeof LIMITS;
export const ALARM_NAMES = Object.keys(LIMITS) as AlarmName[];

/** What the file says of one alarm. */
export interface AlarmConfig {
  limit?: number;
  actions?: AlarmAction[];
}

export interface AlarmsConfig {
  /** Alarms that are off, and those with settings of their own; the others are as by default. */
  off: AlarmName[];
  /** `true` stands here as an alarm without settings: it was asked for by name. */
  own: Partial<Record<AlarmName, AlarmConfig>>;
  /** Where `webhook` posts: an address, or env:NAME for one in the environment. */
  webhook?: string;
  /** What the model writes on at each measurement, instead of the built-in beginnings. */
  prompts?: string[];
}

const action = oneOf(ALARM_ACTIONS);
const actionForms = `one of ${ALARM_ACTIONS.join(', ')}, or a list of them`;

function actions(value: unknown) {
  return Array.isArray(value) ? z.array(action).min(1, { error: actionForms }) : action;
}

function alarm(name: AlarmName, value: unknown) {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return typeof value === 'boolean' ? truth : actions(value);
  const limits = Object.fromEntries(Object.entries(LIMITS[name]).map(([key, schema]) => [key, schema.optional()]));
  return map({ ...limits, do: actions((value as { do?: unknown }).do).optional() });
}

const webhookForm = 'an address (https://...), or env:NAME for one that stands in the environment';

/** @param value what the file says, which chooses between branches */
export function alarmsSchema(value: unknown) {
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    return z.boolean({ error: 'true, false, or a map such as { general: { above: 2, do: [checkpoint, lower-lr] } }' });
  const given = value as Record<string, unknown>;
  return map({
    ...Object.fromEntries(ALARM_NAMES.map((name) => [name, alarm(name, given[name]).optional()])),
    webhook: text(webhookForm)
      .refine((address) => /^(https?:\/\/|env:[A-Za-z_][A-Za-z0-9_]*$)/.test(address), { error: webhookForm })
      .optional(),
    prompts: z
      .array(text('the beginning of a text'), { error: 'a list of beginnings of texts' })
      .min(1, { error: 'at least one beginning of a text; leave the key out for the built-in ones' })
      .optional(),
  });
}

export type AlarmsInFile =
  | boolean
  | ({ webhook?: string; prompts?: string[] } & {
      [N in AlarmName]?:
        | boolean
        | AlarmAction
        | AlarmAction[]
        | { above?: number; below?: number; do?: AlarmAction | AlarmAction[] };
    });

/** Undefined: no alarms at all. */
export function expandAlarms(given: AlarmsInFile | undefined): AlarmsConfig | undefined {
  if (given === false) return undefined;
  if (given === undefined || given === true) return { off: [], own: {} };
  const { webhook, prompts } = given;
  const own: AlarmsConfig['own'] = {};
  for (const name of ALARM_NAMES) {
    const setting = given[name];
    if (setting === undefined || setting === false) continue;
    if (setting === true) own[name] = {};
    else if (typeof setting === 'string' || Array.isArray(setting)) own[name] = { actions: [setting].flat() };
    else {
      const limit = setting.above ?? setting.below;
      own[name] = {
        ...(limit !== undefined && { limit }),
        ...(setting.do !== undefined && { actions: [setting.do].flat() }),
      };
    }
  }
  return {
    off: ALARM_NAMES.filter((name) => given[name] === false),
    own,
    ...(webhook !== undefined && { webhook }),
    ...(prompts && { prompts }),
  };
}

/** Whether samples of writing were asked for, and are not merely part of the default. */
export function wantsSamples({ off, own, prompts }: AlarmsConfig): boolean {
  return !off.includes('writing') && (own.writing !== undefined || prompts !== undefined);
}

/** Alarms that ask for a webhook, while there is no address. */
export function alarmsWithoutAddress({ own, webhook }: AlarmsConfig): AlarmName[] {
  return webhook === undefined ? ALARM_NAMES.filter((name) => own[name]?.actions?.includes('webhook')) : [];
}
