// The parts of a corpus: what is worked on by itself. They follow from the files alone, so that every machine and every later run cuts
// the same ones.
import type { InputFile } from '../types.ts';

export interface Part {
  index: number;
  files: InputFile[];
  /** Of its files as they lie on the disk, or of the ranges of them. */
  numBytes: number;
}

/** A part takes seconds, so that little is lost with a killed process, and a corpus of any size has at least hundreds to share out. */
const [MIN_PART_BYTES, MAX_PART_BYTES] = [8 << 20, 256 << 20];
const WANTED_PARTS = 256;

/** Files in order, several small ones to a part; large plain JSON lines are cut. (A compressed file has no place to begin but its start.) */
export function planParts(files: readonly InputFile[], partBytes?: number): Part[] {
  const total = files.reduce((sum, file) => sum + file.sizeBytes, 0);
  const target = partBytes ?? Math.min(MAX_PART_BYTES, Math.max(MIN_PART_BYTES, Math.ceil(total / WANTED_PARTS)));
  const parts: Part[] = [];
  let open: Part | undefined;
  for (const piece of files.flatMap((file) => cutFile(file, target))) {
    const numBytes = sizeOf(piece);
    if (!open || open.numBytes + numBytes > target) {
      open = { index: parts.length, files: [], numBytes: 0 };
      parts.push(open);
    }
    open.files.push(piece);
    open.numBytes += numBytes;
  }
  return parts;
}

function sizeOf({ range, sizeBytes }: InputFile): number {
  return range ? range.end - range.start : sizeBytes;
}

function cutFile(file: InputFile, target: number): InputFile[] {
  if (file.kind !== 'jsonl' || file.compression !== 'none' || file.sizeBytes <= 2 * target) return [file];
  const numRanges = Math.ceil(file.sizeBytes / target);
  return Array.from({ length: numRanges }, (_, i) => ({
    ...file,
    range: {
      start: Math.floor((i * file.sizeBytes) / numRanges),
      end: Math.floor(((i + 1) * file.sizeBytes) / numRanges),
    },
  }));
}

/** "00012": names of a part's files sort in the order of the parts. */
export function partName(index: number): string {
  return String(index).padStart(6, '0');
}
