// What was decided while a job ran: amendments.jsonl beside job.json, one line a decision, never changed once written. A line carries the
// digests of its order files and the fingerprint of the line before it, the first line the job's: an edited history is refused.
// A decision about the order from a step on takes back all earlier ones about that step and later ones; so does one about the LR.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { DataError, internal } from '../base/errors.ts';
import { explainSystemError, writeAll } from '../base/files.ts';
import { fingerprint, sha256File } from '../base/hash.ts';
import { Layout } from './layout.ts';
import type { Amendment, Job, OrderFileRef } from './types.ts';

const AMENDMENTS_FILE = 'amendments.jsonl';

/** A stretch of the order that holds from a step until the next layer begins. */
export interface OrderLayer {
  fromStep: number;
  /** Steps that it covers end here; without a later layer, the order ends here. */
  untilStep: number;
  /** First sequences that it holds for. */
  firstSequence: number;
  files: readonly OrderFileRef[];
  /** Absent for what the job was compiled with. */
  amendment?: Amendment;
}

/** A job's order, blend and LR as they stand after all that was decided so far. */
export class AmendedJob {
  readonly job: Job;
  readonly folder: string;
  readonly layout: Layout;
  /** Ascending in fromStep. */
  private layers: OrderLayer[];
  /** Ascending in fromStep. */
  private lrs: Amendment[] = [];
  /** All lines, those that were taken back among them. */
  private readonly lines: Amendment[] = [];
  private bytesRead = 0;

  /** @throws DataError when a line or a file that it names was edited or is damaged */
  constructor(folder: string, job: Job) {
    this.folder = folder;
    this.job = job;
    this.layout = new Layout(job);
    const untilStep = job.numOrderedSteps ?? job.numSteps;
    this.layers = [{ fromStep: 0, untilStep, firstSequence: 0, files: job.order }];
    this.refresh();
  }

  get file(): string {
    return path.join(this.folder, AMENDMENTS_FILE);
  }

  get numAmendments(): number {
    return this.lines.length;
  }

  /** Those that hold, in the order of their steps. */
  get amendments(): readonly Amendment[] {
    const holding = new Set<Amendment>(this.lrs);
    for (const { amendment } of this.layers) if (amendment) holding.add(amendment);
    return this.lines.filter((line) => holding.has(line)).sort((a, b) => a.fromStep - b.fromStep);
  }

  /** Number of the next order file. */
  get nextFile(): number {
    return this.job.order.length + this.lines.reduce((sum, { order }) => sum + (order?.files.length ?? 0), 0);
  }

  /** Reads the lines that were added since. @returns whether there were any */
  refresh(): boolean {
    const { file } = this;
    // Asked after every step of a run that is watched.
    if ((fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0) <= this.bytesRead) return false;
    const added = readFrom(file, this.bytesRead);
    // A line torn by a crash was never acted on: whoever writes next removes it.
    const whole = added.subarray(0, added.lastIndexOf(10) + 1);
    const lines = whole.toString('utf8').split('\n').slice(0, -1);
    for (const line of lines) this.push(this.check(line));
    this.bytesRead += whole.length;
    return lines.length > 0;
  }

  private get previous(): string {
    return this.lines.at(-1)?.fingerprint ?? this.job.fingerprint;
  }

  private check(line: string): Amendment {
    const where = `line ${this.lines.length + 1}`;
    let amendment: Amendment;
    try {
      amendment = JSON.parse(line) as Amendment;
    } catch {
      throw new DataError(this.file, `${where} is not valid JSON. ${REMEDY}`);
    }
    const { fingerprint: recorded, ...content } = amendment;
    if (fingerprint(content) !== recorded)
      throw new DataError(this.file, `${where} was edited or is damaged: its fingerprint is another. ${REMEDY}`);
    if (amendment.previous !== this.previous)
      throw new DataError(
        this.file,
        `${where} follows ${amendment.previous}, found ${this.previous} before it: a line was removed, or the job is another. ${REMEDY}`,
      );
    for (const [name, digest] of Object.entries(amendment.order?.digests ?? {})) {
      if (path.basename(name) !== name)
        throw new DataError(this.file, `${where} names a file outside its folder: ${name}`);
      const found = sha256File(path.join(this.folder, name));
      if (found !== digest)
        throw new DataError(
          path.join(this.folder, name),
          `was edited or is damaged (SHA-256 ${found.slice(0, 16)}..., expected ${digest.slice(0, 16)}...). ${REMEDY}`,
        );
    }
    return amendment;
  }

  private push(amendment: Amendment): void {
    const { fromStep, order, lrFactor } = amendment;
    this.lines.push(amendment);
    if (order) {
      const numSteps = order.parts.reduce((sum, part) => sum + part.numSteps, 0);
      this.layers = this.layers.filter((layer) => !layer.amendment || layer.fromStep < fromStep);
      this.layers.push({
        fromStep,
        untilStep: fromStep + numSteps,
        firstSequence: this.layout.firstSequence(fromStep),
        files: order.files,
        amendment,
      });
    }
    if (lrFactor !== undefined) {
      this.lrs = this.lrs.filter((earlier) => earlier.fromStep < fromStep);
      this.lrs.push(amendment);
    }
  }

  /** Adds a decision; the files that it names must be on disk. */
  append(content: Omit<Amendment, 'previous' | 'fingerprint'>): Amendment {
    const chained = JSON.parse(JSON.stringify({ ...content, previous: this.previous })) as Omit<
      Amendment,
      'fingerprint'
    >;
    const amendment: Amendment = { ...chained, fingerprint: fingerprint(chained) };
    const bytes = Buffer.from(`${JSON.stringify(amendment)}\n`);
    try {
      const fd = fs.openSync(this.file, 'a');
      try {
        fs.ftruncateSync(fd, this.bytesRead);
        writeAll(fd, bytes);
        fs.fsyncSync(fd);
      } finally {
        fs.closeSync(fd);
      }
    } catch (error) {
      throw explainSystemError(error, this.file, 'appending to it');
    }
    this.bytesRead += bytes.length;
    this.push(amendment);
    return amendment;
  }

  /** What the order of a step comes from; undefined where it is not decided yet. */
  layerAt(step: number): OrderLayer | undefined {
    const layer = this.layers.findLast(({ fromStep }) => fromStep <= step)!;
    return step < layer.untilStep ? layer : undefined;
  }

  /** The order file that sequence i is in. */
  fileOf(i: number): OrderFileRef {
    const layer = this.layers.findLast(({ firstSequence }) => firstSequence <= i)!;
    const ref = layer.files.find(
      ({ firstSequence, numSequences }) => i >= firstSequence && i < firstSequence + numSequences,
    );
    return ref ?? internal(`sequence ${i} is not in the job's order`);
  }

  /** Share of tokens by corpus, of a step whose order is decided. */
  blendAt(step: number): Record<string, number> {
    const amendment = this.layerAt(step)?.amendment;
    if (!amendment) return this.layout.atStep(step).phase.blend;
    let end = amendment.fromStep;
    for (const { numSteps, blend } of amendment.order!.parts) {
      end += numSteps;
      if (step < end) return blend;
    }
    return internal(`step ${step} is behind its layer`);
  }

  /** What the schedule's LR is multiplied with. */
  lrFactorAt(step: number): number {
    return this.lrs.findLast(({ fromStep }) => fromStep <= step)?.lrFactor ?? 1;
  }

  /** Identifies all that the first `step` steps were trained by. */
  fingerprintAt(step: number): string {
    const before = this.amendments.filter(({ fromStep }) => fromStep < step);
    return before.length === 0
      ? this.job.fingerprint
      : fingerprint([this.job.fingerprint, ...before.map((amendment) => amendment.fingerprint)]);
  }
}

const REMEDY = 'Start the run again in a new folder, or remove the job folder and the checkpoints.';

function readFrom(file: string, position: number): Buffer {
  try {
    return fs.readFileSync(file).subarray(position);
  } catch (error) {
    throw explainSystemError(error, file, 'reading what was decided while the job ran');
  }
}
