// Where commands print: results on stdout, everything else on stderr; colour only on a terminal that wants it.

export interface Output {
  /** A result, one line or several. */
  print(text: string): void;
  /** A part of a result, as it is: no line is ended. */
  write(text: string): void;
  /** A remark that is no result. */
  note(text: string): void;
  readonly paint: Paint;
}

export interface Paint {
  bold(text: string): string;
  dim(text: string): string;
  red(text: string): string;
  green(text: string): string;
  yellow(text: string): string;
}

/** Colours as ANSI codes, or none. */
export function makePaint(colored: boolean): Paint {
  const wrap =
    (open: number, close: number) =>
    (text: string): string =>
      colored ? `\x1b[${open}m${text}\x1b[${close}m` : text;
  return { bold: wrap(1, 22), dim: wrap(2, 22), red: wrap(31, 39), green: wrap(32, 39), yellow: wrap(33, 39) };
}

/** Whether to colour what goes to `stream`: NO_COLOR wins, then FORCE_COLOR, then whether it is a terminal. */
export function wantsColor(stream: { isTTY?: boolean }, env: NodeJS.ProcessEnv): boolean {
  if (env.NO_COLOR) return false;
  if (env.FORCE_COLOR && env.FORCE_COLOR !== '0') return true;
  return stream.isTTY === true && env.TERM !== 'dumb';
}

export function processOutput(): Output {
  return {
    print: (text) => process.stdout.write(`${text}\n`),
    write: (text) => process.stdout.write(text),
    note: (text) => process.stderr.write(`${text}\n`),
    paint: makePaint(wantsColor(process.stdout, process.env)),
  };
}
