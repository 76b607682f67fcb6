// The four kinds of error that reach a user. Each says what, where, expected, found and what to do; none shows a stack.
// Everything else that is thrown is a defect of ours and is printed as `internal:`.

/** Something the user gave (flag, configuration, path) is wrong. Exit code 2. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly exitCode = 2;
}

/** A file does not hold what it should. `file` and, where known, `offset` (bytes) are part of the message. Exit code 3. */
export class DataError extends Error {
  override readonly name = 'DataError';
  readonly exitCode = 3;
  readonly file: string;
  readonly offset: number | undefined;
  constructor(file: string, message: string, offset?: number) {
    super(`${file}${offset === undefined ? '' : ` (at byte ${offset})`}: ${message}`);
    this.file = file;
    this.offset = offset;
  }
}

/** The engine (child process or native code) failed; `cause` holds what it said. Exit code 4. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly exitCode = 4;
}

/** A broken invariant of our own. */
export function internal(message: string): never {
  throw new Error(`internal: ${message}`);
}

export function isUserError(error: unknown): error is ConfigError | DataError | EngineError {
  return error instanceof ConfigError || error instanceof DataError || error instanceof EngineError;
}

/** The known name nearest to `name` by edit distance, or undefined where none is near enough to be a likely slip. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(previous[j]! + 1, current[j - 1]! + 1, substitution));
    }
    previous = current;
  }
  return previous[b.length]!;
}
