// Which tasks, groups and tags there are in folders of task files, and what a name stands for. Files are looked through for their names
// only; a task is read when it is chosen. Of two files with one name the first by path counts within a folder, the later folder among
// several, as in lm-evaluation-harness.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { ConfigError, nearestName } from '../../base/errors.ts';
import { explainSystemError } from '../../base/files.ts';
import { canonicalJson } from '../../base/hash.ts';
import { type HeadingKeys, loadTaskFile, type RawConfig, readHeading } from './yaml.ts';

export interface Entry {
  name: string;
  kind: 'task' | 'group' | 'tag' | 'class';
  /** Of tasks and groups. */
  file: string;
  /** Tasks of a tag. */
  tasks: string[];
}

export interface AggregateMetric {
  metric: string;
  /** Those that the tasks have where it is not said. */
  filters?: readonly string[];
  weightBySize: boolean;
}

/** A task with its raw configuration: included, overridden, not yet checked. */
export interface ChosenTask {
  name: string;
  config: RawConfig;
  /** The file that defines it. */
  file: string;
  /** Groups and tags that it was asked for by, outermost first. */
  groups: string[];
}

export interface ChosenGroup {
  name: string;
  alias: string;
  version: string;
  /** Names of tasks and groups right below it. */
  children: string[];
  /** All tasks below it. */
  tasks: string[];
  aggregate: AggregateMetric[];
}

export interface Selection {
  tasks: ChosenTask[];
  /** Inner ones before outer ones. */
  groups: ChosenGroup[];
}

/** What a group's file says of the group; everything else in it overrides its tasks. */
const GROUP_KEYS = ['group', 'group_alias', 'task', 'aggregate_metric_list', 'metadata'];

export class TaskRegistry {
  readonly entries: ReadonlyMap<string, Entry>;

  /** @param folders later ones take precedence @throws ConfigError for one that is none */
  constructor(folders: readonly string[]) {
    const entries = new Map<string, Entry>();
    for (const folder of folders) for (const [name, entry] of readFolder(folder)) entries.set(name, entry);
    this.entries = entries;
  }

  /**
   * Tasks that the names stand for: of tasks, groups, tags, patterns of them (mmlu_*), or paths of task files.
   * @throws ConfigError for a name that there is not, or two definitions of one task
   */
  select(names: readonly string[]): Selection {
    const selection = new SelectionBuilder(this.entries);
    for (const name of names) {
      const matching = /[*?[]/.test(name) && !this.entries.has(name) ? this.matching(name) : [name];
      for (const one of matching) selection.addNamed(one);
    }
    return selection.result();
  }

  private matching(pattern: string): string[] {
    const matches = globRegex(pattern);
    const found = [...this.entries.keys()].filter((name) => matches.test(name)).sort();
    if (found.length === 0) throw new ConfigError(`--tasks ${pattern}: no task, group or tag has such a name.`);
    return found;
  }
}

/** As Python's fnmatch. */
function globRegex(pattern: string): RegExp {
  const body = pattern.replace(/\[(!?)([^\]]+)\]|[*?]|[^\w*?]/g, (part, negated: string | undefined, inner?: string) =>
    inner !== undefined
      ? `[${negated ? '^' : ''}${inner.replace(/[\\\]^]/g, '\\$&')}]`
      : part === '*'
        ? '.*'
        : part === '?'
          ? '.'
          : `\\${part}`,
  );
  return new RegExp(`^${body}$`, 's');
}

function readFolder(folder: string): Map<string, Entry> {
  let files: string[];
  try {
    files = fs
      .readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.yaml') && !/(^|[\\/])(__pycache__|\.ipynb_checkpoints)[\\/]/.test(name))
      .map((name) => path.resolve(folder, name))
      .sort();
  } catch (error) {
    throw explainSystemError(error, folder, 'looking for task files');
  }
  const known = new Map<string, HeadingKeys>();
  const entries = new Map<string, Entry>();
  const tagged: [string, string[]][] = [];
  for (const file of files) {
    const { kind, name, tags } = readHeading(file, known);
    if (kind === 'none' || entries.has(name)) continue;
    entries.set(name, { name, kind, file, tasks: [] });
    if (kind !== 'group' && tags.length > 0) tagged.push([name, tags]);
  }
  for (const [task, tags] of tagged)
    for (const tag of tags) {
      const entry = entries.get(tag) ?? { name: tag, kind: 'tag', file: '', tasks: [] };
      entries.set(tag, entry);
      if (entry.kind === 'tag') entry.tasks.push(task);
    }
  return entries;
}

class SelectionBuilder {
  private readonly tasks = new Map<string, ChosenTask>();
  private readonly groups = new Map<string, ChosenGroup>();
  private readonly entries: ReadonlyMap<string, Entry>;

  constructor(entries: ReadonlyMap<string, Entry>) {
    this.entries = entries;
  }

  result(): Selection {
    return { tasks: [...this.tasks.values()], groups: [...this.groups.values()] };
  }

  addNamed(name: string): void {
    const entry = this.entries.get(name);
    if (entry) {
      this.add(entry, {}, []);
      return;
    }
    if (!fs.existsSync(name)) throw new ConfigError(unknownName(name, this.entries));
    const file = path.resolve(name);
    const { kind, name: inner } = readHeading(file, new Map());
    if (kind === 'none') throw new ConfigError(`${file}: defines no task and no group (no key "task" or "group").`);
    this.add({ name: inner, kind, file, tasks: [] }, {}, []);
  }

  /** @returns names of tasks and groups right below what was added */
  private add(entry: Entry, overrides: RawConfig, groups: readonly string[]): string[] {
    if (entry.kind === 'tag')
      return entry.tasks.toSorted().flatMap((task) => this.add(this.find(task), overrides, [...groups, entry.name]));
    const config = loadTaskFile(entry.file);
    if (entry.kind === 'group') return [this.addGroup(entry.name, config, entry.file, overrides, groups)];
    return [
      this.addTask({ name: entry.name, config: { ...config, ...overrides }, file: entry.file, groups: [...groups] }),
    ];
  }

  private find(name: string): Entry {
    return this.entries.get(name) ?? fail(unknownName(name, this.entries));
  }

  private addTask(task: ChosenTask): string {
    const name = String(task.config.task ?? task.name);
    const before = this.tasks.get(name);
    if (before && canonicalJson(before.config) !== canonicalJson(task.config))
      throw new ConfigError(
        `task ${name} was chosen twice with other settings: by ${asked(before)} and by ${asked(task)}. Choose one of them.`,
      );
    if (before) before.groups.push(...task.groups.filter((group) => !before.groups.includes(group)));
    else this.tasks.set(name, { ...task, name });
    return name;
  }

  private addGroup(
    name: string,
    config: RawConfig,
    file: string,
    overrides: RawConfig,
    groups: readonly string[],
  ): string {
    const forTasks = Object.fromEntries(Object.entries(config).filter(([key]) => !GROUP_KEYS.includes(key)));
    const merged = { ...forTasks, ...overrides };
    const members = Array.isArray(config.task) ? config.task : [];
    const inner = [...groups, name];
    const children = members.flatMap((member) => this.addMember(member, name, file, merged, inner));
    this.groups.set(name, {
      name,
      alias: String(config.group_alias ?? name),
      version: versionOf(config),
      children,
      tasks: [...new Set(children.flatMap((child) => this.groups.get(child)?.tasks ?? [child]))],
      aggregate: aggregateOf(config, name),
    });
    return name;
  }

  private addMember(
    member: unknown,
    group: string,
    file: string,
    overrides: RawConfig,
    groups: readonly string[],
  ): string[] {
    if (typeof member === 'string' && this.entries.has(member)) return this.add(this.find(member), overrides, groups);
    if (typeof member === 'object' && member !== null) {
      const { group: innerGroup, ...rest } = member as RawConfig;
      if (innerGroup !== undefined) {
        const name = String(innerGroup);
        if (this.entries.has(name)) return this.add(this.find(name), { ...overrides, ...rest }, groups);
        return [this.addGroup(`${group}::${name}`, rest, file, overrides, groups)];
      }
      const config = { ...overrides, ...rest };
      const name = String(
        config.task ?? fail(`${file}: a member of the group ${group} has neither "task" nor "group".`),
      );
      const entry = this.entries.get(name);
      if (!entry)
        return [this.addTask({ name, config: { ...config, task: `${group}::${name}` }, file, groups: [...groups] })];
      if (entry.kind === 'task') return this.add(entry, config, groups);
      const { task: _, ...others } = config;
      return this.add(entry, others, groups);
    }
    return fail(`${file}: the group ${group} has "${String(member)}". ${unknownName(String(member), this.entries)}`);
  }
}

function fail(message: string): never {
  throw new ConfigError(message);
}

function asked({ groups, file }: ChosenTask): string {
  return groups.length > 0 ? groups.join(' / ') : file;
}

function unknownName(name: string, entries: ReadonlyMap<string, Entry>): string {
  const near = nearestName(name, [...entries.keys()]);
  return (
    `no task, group or tag is named "${name}"${near ? `. Did you mean "${near}"?` : ''}` +
    ' `continuo eval --list-tasks` lists them; --include-path DIR adds a folder of task files.'
  );
}

export function versionOf(config: RawConfig): string {
  const metadata = config.metadata;
  const version =
    typeof metadata === 'object' && metadata !== null ? (metadata as RawConfig).version : (metadata as unknown);
  return version === undefined || version === null ? 'N/A' : String(version);
}

function aggregateOf(config: RawConfig, group: string): AggregateMetric[] {
  const given = config.aggregate_metric_list;
  if (given === undefined || given === null) return [];
  return [given].flat().map((item) => {
    const { metric, filter_list, aggregation = 'mean', weight_by_size = true } = item as RawConfig;
    if (aggregation !== 'mean')
      throw new ConfigError(`group ${group}: aggregation "${String(aggregation)}" is not supported; "mean" is.`);
    const filters = filter_list === undefined || filter_list === null ? undefined : [filter_list].flat().map(String);
    return { metric: String(metric), filters, weightBySize: Boolean(weight_by_size) };
  });
}
