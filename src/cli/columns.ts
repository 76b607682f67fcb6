// Texts that grow beside each other in columns, written row by row: a row is final when every column has gone beyond it, and only the row at
// the bottom is ever written again, so that whatever has scrolled away stays right.
import { displayWidth, pad } from './table.ts';

const GAP = ' │ ';

export class Columns {
  private readonly write: (text: string) => void;
  private readonly width: number;
  private readonly texts: string[];
  private readonly isDone: boolean[];
  private numWritten = 0;

  /** @param totalWidth terminal cells for all columns together */
  constructor(numColumns: number, totalWidth: number, write: (text: string) => void) {
    this.write = write;
    this.width = Math.floor((totalWidth - GAP.length * (numColumns - 1)) / numColumns);
    this.texts = Array.from({ length: numColumns }, () => '');
    this.isDone = this.texts.map(() => false);
  }

  push(column: number, text: string): void {
    this.texts[column] += text;
    this.draw();
  }

  end(column: number): void {
    this.isDone[column] = true;
    this.draw();
  }

  private draw(): void {
    const lines = this.texts.map((text) => wrap(text, this.width));
    const numRows = Math.max(...lines.map(({ length }) => length));
    const numFinal = Math.min(...lines.map(({ length }, i) => (this.isDone[i] ? numRows : length - 1)));
    const row = (at: number) =>
      lines
        .map((column) => pad(column[at] ?? '', this.width))
        .join(GAP)
        .trimEnd();
    for (; this.numWritten < numFinal; this.numWritten++) this.write(`\r\x1b[2K${row(this.numWritten)}\n`);
    if (this.numWritten < numRows) this.write(`\r\x1b[2K${row(this.numWritten)}`);
  }
}

/** Lines of at most `width` cells, broken between words where there are some. */
export function wrap(text: string, width: number): string[] {
  return text.split('\n').flatMap((paragraph) => {
    const lines: string[] = [];
    let line = '';
    for (let word of paragraph.split(/(?<= )/)) {
      if (line && displayWidth(line + word.trimEnd()) > width) {
        lines.push(line.trimEnd());
        line = '';
      }
      while (displayWidth(word.trimEnd()) > width) {
        const head = headOf(word, width);
        lines.push(head);
        word = word.slice(head.length);
      }
      line += word;
    }
    return [...lines, line.trimEnd()];
  });
}

/** As many characters as fit. */
function headOf(word: string, width: number): string {
  let head = '';
  for (const character of word) {
    if (head && displayWidth(head + character) > width) break;
    head += character;
  }
  return head;
}
