// Members of a zip archive, unpacked in memory by fflate: sizes are looked at before anything is unpacked, and what is unpacked never
// exceeds what a member says of itself. Nothing is written to disk, so a member's name cannot lead anywhere.
import { strFromU8, unzipSync } from 'fflate';
import { formatBytes } from '../../base/units.ts';

const MAX_MEMBERS = 100_000;

/**
 * The members that are wanted, by name.
 * @throws Error saying what is wrong with the archive
 */
export function unpackMembers(
  bytes: Uint8Array,
  isWanted: (name: string) => boolean,
  maxBytes: number,
): Map<string, Uint8Array> {
  let numMembers = 0;
  let total = 0;
  const sizes = new Map<string, number>();
  const members = unzipSync(bytes, {
    filter: ({ name, originalSize }) => {
      if (++numMembers > MAX_MEMBERS) throw new Error(`more than ${MAX_MEMBERS} members`);
      if (!isWanted(name)) return false;
      total += originalSize;
      if (total > maxBytes) throw new Error(`unpacks to more than ${formatBytes(maxBytes)}`);
      sizes.set(name, originalSize);
      return true;
    },
  });
  for (const [name, size] of sizes)
    if (members[name]?.length !== size)
      throw new Error(`member ${name.slice(0, 80)} is not of the size that it claims`);
  return new Map(Object.entries(members));
}

export function memberText(members: ReadonlyMap<string, Uint8Array>, name: string): string | undefined {
  const bytes = members.get(name);
  return bytes && strFromU8(bytes);
}
