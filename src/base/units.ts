// Numbers as people write and read them.
import { ConfigError } from './errors.ts';

const SCALES: Record<string, number> = { '': 1, k: 1e3, m: 1e6, b: 1e9, g: 1e9, t: 1e12 };

/** "20M", "1.5B tokens", 300_000 -> a count. Throws ConfigError naming `what`. */
export function parseCount(value: string | number, what: string): number {
  if (typeof value === 'number') {
    if (Number.isFinite(value) && value >= 0) return Math.round(value);
  } else {
    const match =
      /^\s*([0-9][0-9_]*(?:\.[0-9]+)?(?:e[0-9]+)?)\s*([kmbgt]?)\s*(?:tokens?|documents?|docs?|steps?|bytes?)?\s*$/i.exec(
        value,
      );
    if (match) return Math.round(Number(match[1]!.replaceAll('_', '')) * SCALES[match[2]!.toLowerCase()]!);
  }
  throw new ConfigError(
    `${what}: expected a count such as 300000, 20M or "1.5B tokens", found ${JSON.stringify(value)}.`,
  );
}

/** 1234567 -> "1.23M". Decimal scales; three significant digits. */
export function formatCount(n: number): string {
  for (const [suffix, scale] of [
    ['T', 1e12],
    ['B', 1e9],
    ['M', 1e6],
    ['k', 1e3],
  ] as const)
    if (Math.abs(n) >= scale) return `${significant(n / scale)}${suffix}`;
  return significant(n);
}

/** Bytes in binary units: 1.5 GiB. */
export function formatBytes(n: number): string {
  for (const [suffix, scale] of [
    ['TiB', 2 ** 40],
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const)
    if (n >= scale) return `${significant(n / scale)} ${suffix}`;
  return `${n} B`;
}

/** Seconds -> "3 s", "2 min 05 s", "1 h 04 min", "3 d 2 h". */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return 'unknown';
  const s = Math.round(seconds);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, '0')} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, '0')} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

function significant(n: number): string {
  const digits = Math.abs(n) >= 100 ? 0 : Math.abs(n) >= 10 ? 1 : 2;
  return Number(n.toFixed(digits)).toString();
}
