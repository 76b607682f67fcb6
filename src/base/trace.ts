// Where the time of a piece of work goes: named spans, which nest. Nothing is recorded unless somebody collects; a span then costs one
// comparison.

export interface Slice {
  name: string;
  /** What it belongs to, for sums and for colours in a viewer. */
  category: string;
  /** Milliseconds on performance.now()'s clock. */
  startMs: number;
  durationMs: number;
  args?: Record<string, unknown>;
}

let collecting: Slice[] | undefined;

/** Runs `body`, which must not be asynchronous, and appends every span inside it to `slices`, inner ones before outer ones. */
export function collectSpans<T>(slices: Slice[], body: () => T): T {
  const before = collecting;
  collecting = slices;
  try {
    return body();
  } finally {
    collecting = before;
  }
}

/** Begins a span; call what it returns to end it. `describe` is asked for details once the duration is known. */
export function beginSpan(
  name: string,
  category: string,
  describe?: (durationMs: number) => Record<string, unknown>,
): () => void {
  if (!collecting) return nothing;
  const slices = collecting;
  const startMs = performance.now();
  return () => {
    const durationMs = performance.now() - startMs;
    slices.push({ name, category, startMs, durationMs, args: describe?.(durationMs) });
  };
}

const nothing = () => {};

/** Runs `body` as a span, see beginSpan. */
export function span<T>(
  name: string,
  category: string,
  body: () => T,
  describe?: (durationMs: number) => Record<string, unknown>,
): T {
  const end = beginSpan(name, category, describe);
  try {
    return body();
  } finally {
    end();
  }
}
