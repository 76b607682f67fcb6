// Long runs of characters of one kind: tokens, encoded data.

/** 1 for each UTF-16 unit of `letters`. */
export function unitSet(letters: string): Uint8Array {
  const members = new Uint8Array(0x10000);
  for (let i = 0; i < letters.length; i++) members[letters.charCodeAt(i)] = 1;
  return members;
}

/**
 * Runs of at least `least` units that are members. Looks from the end of where one could be, so that of text without long runs it reads a
 * part only.
 */
export function* longRuns(
  units: Uint16Array,
  isMember: Uint8Array,
  least: number,
): Generator<{ start: number; end: number }> {
  let start = 0;
  while (start + least <= units.length) {
    let i = start + least - 1;
    while (i >= start && isMember[units[i]!]) i--;
    if (i >= start) {
      start = i + 1;
      continue;
    }
    let end = start + least;
    while (end < units.length && isMember[units[end]!]) end++;
    yield { start, end };
    start = end;
  }
}
