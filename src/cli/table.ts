// Tables in plain text, for terminals and logs. Columns are aligned by display width, not by number of characters.
import { formatCount } from '../base/units.ts';
import type { Paint } from './output.ts';

export interface TextColumn {
  title: string;
  align?: 'right';
}

/** A header line, a rule and a line for each row; columns two spaces apart. Numbers read best with align: 'right'. */
export function formatTable(columns: readonly TextColumn[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((column, j) =>
    Math.max(displayWidth(column.title), ...rows.map((row) => displayWidth(row[j] ?? ''))),
  );
  const line = (cells: readonly string[]): string =>
    columns
      .map((column, j) => pad(cells[j] ?? '', widths[j]!, column.align))
      .join('  ')
      .trimEnd();
  return [
    line(columns.map((column) => column.title)),
    widths.map((width) => '─'.repeat(width)).join('  '),
    ...rows.map(line),
  ].join('\n');
}

/** "name  value" lines with the values aligned. */
export function formatFacts(facts: readonly (readonly [string, string])[]): string {
  const width = Math.max(0, ...facts.map(([name]) => displayWidth(name)));
  return facts
    .map(([name, value]) => `${pad(name, width)}  ${value.replaceAll('\n', `\n${' '.repeat(width + 2)}`)}`.trimEnd())
    .join('\n');
}

/** Those of the facts that are known, with dim names. */
export function formatKnownFacts(facts: readonly (readonly [string, string | undefined])[], paint: Paint): string {
  return formatFacts(
    facts.flatMap(([name, value]) => (value === undefined ? [] : [[paint.dim(name), value] as const])),
  );
}

/** "documents: 12 copies, 3 empty" of those that are above 0; undefined where none is. */
export function formatLeftOut(parts: readonly (readonly [number, string])[]): string | undefined {
  const list = parts.filter(([n]) => n > 0).map(([n, what]) => `${formatCount(n)} ${what}`);
  return list.length > 0 ? `documents: ${list.join(', ')}` : undefined;
}

export function pad(text: string, width: number, align?: 'right'): string {
  const space = ' '.repeat(Math.max(0, width - displayWidth(text)));
  return align === 'right' ? space + text : text + space;
}

const ANSI = /\x1b\[[0-9;]*m/g;
const ZERO_WIDTH = /^[\p{Mn}\p{Me}\p{Cf}]+$/u;
const WIDE =
  /^(?:\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|[\u{20000}-\u{3fffd}])/u;
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' });

/** Terminal cells that `text` takes: two for East Asian wide characters and emoji, none for colours and combining marks. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const { segment } of graphemes.segment(text.replace(ANSI, '')))
    width += ZERO_WIDTH.test(segment) ? 0 : WIDE.test(segment) ? 2 : 1;
  return width;
}
