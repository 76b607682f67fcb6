// Progress of long work: a bar with rate and time left on a terminal, a plain line every few seconds off one. Writes to stderr, so
// that stdout stays for results.
import { formatBytes, formatCount, formatSeconds } from './units.ts';

export interface ProgressOptions {
  /** What is being done, e.g. "tokenising handbook". */
  label: string;
  /** Total amount, in `unit`; undefined when unknown. */
  total?: number;
  unit?: 'bytes' | 'tokens' | 'steps' | 'documents';
  /** Say nothing (for --json and tests). */
  quiet?: boolean;
}

const BAR_WIDTH = 24;
const FIRST_SECONDS = 0.5;

export class Progress {
  private done = 0;
  private readonly start = performance.now();
  private startDone = 0;
  private last = 0;
  private note = '';
  private readonly live = process.stderr.isTTY === true;
  private readonly options: ProgressOptions;

  constructor(options: ProgressOptions) {
    this.options = options;
  }

  /** Work that was done before this process began: shown, but kept out of the rate. */
  resumeAt(done: number): void {
    this.done = this.startDone = done;
  }

  /** Sets the absolute amount done and an optional note such as "loss 2.31". */
  update(done: number, note = ''): void {
    this.done = done;
    this.note = note;
    const now = performance.now();
    if (now - this.last < (this.live ? 100 : 5000)) return;
    this.last = now;
    this.print(false);
  }

  finish(note = this.note): void {
    this.note = note;
    this.print(true);
  }

  private amount(n: number): string {
    return this.options.unit === 'bytes' ? formatBytes(n) : formatCount(n);
  }

  private print(final: boolean): void {
    const { label, total, unit = '', quiet } = this.options;
    if (quiet) return;
    const seconds = (performance.now() - this.start) / 1000;
    const rate = (this.done - this.startDone) / Math.max(seconds, 1e-9);
    const parts = [total === undefined ? this.amount(this.done) : `${this.amount(this.done)}/${this.amount(total)}`];
    if (unit && unit !== 'bytes') parts[0] += ` ${unit}`;
    // What came within the first moments says little about what is to come.
    const isKnown = rate > 0 && (final || seconds > FIRST_SECONDS);
    if (isKnown)
      parts.push(
        unit === 'steps' && rate < 1
          ? `${(1 / rate).toFixed(2)} s/step`
          : `${this.amount(Number(rate.toPrecision(3)))}/s`,
      );
    if (final) parts.push(`in ${formatSeconds(seconds)}`);
    else if (total !== undefined && isKnown) parts.push(`${formatSeconds((total - this.done) / rate)} left`);
    if (this.note) parts.push(this.note);
    const text = `${label}: ${parts.join(', ')}`;
    if (!this.live) {
      process.stderr.write(`${text}\n`);
      return;
    }
    const share = total ? Math.min(1, this.done / total) : 0;
    const bar = total ? `${'█'.repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, '░')} ` : '';
    process.stderr.write(`\r\x1b[2K${bar}${text}`.slice(0, (process.stderr.columns ?? 120) + 5) + (final ? '\n' : ''));
  }
}
