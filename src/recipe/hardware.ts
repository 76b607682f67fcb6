// GPUs that a plan can be costed for. Peaks are of dense bf16 products with f32 sums (vendors often print twice that, "with sparsity"),
// memory in GiB as the vendor's GB. Prices are an assumption: per GPU and hour, on demand, in US dollars, about what public price lists
// of clouds that rent single GPUs asked in 2025; they move monthly and differ by a factor of two, so give yours (--price).
import { ConfigError, nearestName } from '../base/errors.ts';

export interface Gpu {
  id: string;
  name: string;
  /** Dense bf16 operations a second. */
  peakFlops: number;
  memoryBytes: number;
  /** Bytes a second. */
  bandwidth: number;
  /** US dollars an hour, an assumption. */
  pricePerHour: number;
  source: string;
  /** Share of the peak that training reaches, where it was published; with its source. */
  utilisation?: { share: number; source: string };
  /** What else must be known. */
  note?: string;
}

const GIB = 2 ** 30;

function gpu(
  id: string,
  name: string,
  [teraflops, gib, gigabytesPerSecond, pricePerHour]: [number, number, number, number],
  source: string,
  note?: string,
): Gpu {
  return {
    ...{ id, name, source, pricePerHour },
    peakFlops: teraflops * 1e12,
    memoryBytes: gib * GIB,
    bandwidth: gigabytesPerSecond * 1e9,
    ...(note === undefined ? {} : { note }),
  };
}

export const PRICE_SOURCE = 'assumption: typical on-demand price a GPU, 2025';

/** With nothing run again: Llama 2 13B on 64 of them. */
const A100_UTILISATION = { share: 0.61, source: '61 % of the peak: torchtitan, docs/performance.md' };

export const GPUS: readonly Gpu[] = [
  {
    ...gpu('a100-40', 'A100 40 GB', [312, 40, 1555, 2.1], "NVIDIA's A100 datasheet"),
    utilisation: A100_UTILISATION,
  },
  {
    ...gpu('a100-80', 'A100 80 GB', [312, 80, 2039, 2.5], "NVIDIA's A100 datasheet"),
    utilisation: A100_UTILISATION,
  },
  gpu('h100', 'H100 SXM', [989, 80, 3350, 3.5], "NVIDIA's H100 datasheet"),
  gpu('h100-pcie', 'H100 PCIe', [756, 80, 2000, 2.7], "NVIDIA's H100 datasheet"),
  gpu('h200', 'H200 SXM', [989, 141, 4800, 4.5], "NVIDIA's H200 datasheet"),
  gpu('b200', 'B200', [2250, 180, 8000, 6.25], "NVIDIA's Blackwell datasheet"),
  gpu('l40s', 'L40S', [362, 48, 864, 1.95], "NVIDIA's L40S datasheet"),
  gpu('l4', 'L4', [121, 24, 300, 0.8], "NVIDIA's L4 datasheet"),
  gpu('a10g', 'A10G', [70, 24, 600, 1.1], "AWS's and NVIDIA's description of the A10G (from memory, unverified)"),
  gpu('rtx3090', 'GeForce RTX 3090', [71, 24, 936, 0.45], "NVIDIA's GA102 whitepaper"),
  gpu('rtx4090', 'GeForce RTX 4090', [165.2, 24, 1008, 0.7], "NVIDIA's Ada whitepaper"),
  gpu(
    'rtx5090',
    'GeForce RTX 5090',
    [209.5, 32, 1792, 0.9],
    "NVIDIA's Blackwell RTX whitepaper (838 with sparsity and f16 sums, a quarter of it)",
  ),
  gpu('mi300x', 'Instinct MI300X', [1307, 192, 5300, 2.5], "AMD's MI300X data sheet"),
  gpu(
    't4',
    'T4',
    [65, 16, 320, 0.6],
    "NVIDIA's T4 datasheet",
    'it has no bf16: the peak is that of f16, which needs loss scaling',
  ),
];

/** What a plan compares this machine with. */
export const DEFAULT_GPU: Gpu = GPUS.find(({ id }) => id === 'h100')!;

const ALIASES: Record<string, string> = {
  a100: 'a100-80',
  'a100-40gb': 'a100-40',
  'a100-80gb': 'a100-80',
  'h100-sxm': 'h100',
  'h200-sxm': 'h200',
  '3090': 'rtx3090',
  '4090': 'rtx4090',
  '5090': 'rtx5090',
};

export interface Cluster {
  gpu: Gpu;
  count: number;
}

/** "h100x8", "a100-40", "2x l40s". @param where it stands. @throws ConfigError for a GPU that is not in the table, or a count of none */
export function parseCluster(text: string, where = '--on'): Cluster {
  const plain = text.trim().toLowerCase().replaceAll(' ', '');
  // Names may end in an x (mi300x), begin with a number (4090) or have an x inside (rtx5090): the first reading that names a GPU counts.
  const [, name = '', after = ''] = /^(.+)x(\d+)$/.exec(plain) ?? [];
  const [, before = '', rest = ''] = /^(\d+)x(.+)$/.exec(plain) ?? [];
  const readings = [
    { id: plain, count: 1 },
    { id: name, count: Number(after) },
    { id: rest, count: Number(before) },
  ];
  const found = readings.find(({ id }) => find(id));
  if (!found) {
    const names = GPUS.map((row) => row.id);
    const near = nearestName(name || rest || plain, [...names, ...Object.keys(ALIASES)]);
    throw new ConfigError(
      `${where}: no GPU "${text}" is known.${near ? ` Is ${near} meant?` : ''} Expected one of ${names.join(', ')}, with a number of GPUs after an x: h100x8.`,
    );
  }
  const { id, count } = found;
  if (!Number.isSafeInteger(count) || count < 1)
    throw new ConfigError(`${where}: expected at least one GPU, found "${text}".`);
  return { gpu: find(id)!, count };
}

/** Words of a device's name as its driver gives it, the first that fit. The worker has the same (worker/continuo_worker/speed.py). */
const DEVICES: [RegExp, string][] = [
  [/\bA100\b/, 'a100-80'],
  [/\bH100 PCIe\b/, 'h100-pcie'],
  [/\bH100\b/, 'h100'],
  [/\bH200\b/, 'h200'],
  [/\bB200\b/, 'b200'],
  [/\bL40S\b/, 'l40s'],
  [/\bL4\b/, 'l4'],
  [/\bA10G\b/, 'a10g'],
  [/\bRTX 3090\b/, 'rtx3090'],
  [/\bRTX 4090\b/, 'rtx4090'],
  [/\bRTX 5090\b/, 'rtx5090'],
  [/\bMI300X\b/, 'mi300x'],
  [/\bT4\b/, 't4'],
];
/** With these words it is another device, or a part of one. */
const OTHER_DEVICES = /\b(NVL|Laptop|MIG)\b/;

/** A GPU by its driver's name for it ("NVIDIA H100 80GB HBM3"), with the memory that it has; undefined where its peak is not known. */
export function gpuOfDevice(name: string, memoryBytes: number): Gpu | undefined {
  if (OTHER_DEVICES.test(name)) return undefined;
  const id = DEVICES.find(([words]) => words.test(name))?.[1];
  const known = id === undefined ? undefined : find(id);
  return known && { ...known, memoryBytes };
}

function find(id: string): Gpu | undefined {
  return GPUS.find((row) => row.id === (ALIASES[id] ?? id));
}
