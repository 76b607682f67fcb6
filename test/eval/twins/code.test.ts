import { describe, expect, it } from 'vitest';
import { pythonSandbox } from '../../../src/eval/sandbox.ts';
import { estimatePassAtK } from '../../../src/eval/twins/code.ts';
import type { Twin } from '../../../src/eval/twins/index.ts';
import { twinsOf } from '../../../src/eval/twins/index.ts';

const twin = (folder: string, name: string): Twin => twinsOf(folder)![name]!;

describe('pass@k', () => {
  it('is the share of draws of k with a pass among them, by counting all draws', () => {
    for (const [n, c, k] of [
      [5, 2, 1],
      [5, 2, 3],
      [6, 1, 4],
      [4, 4, 2],
      [4, 0, 2],
    ] as const) {
      let draws = 0;
      let hits = 0;
      for (let mask = 0; mask < 2 ** n; mask++) {
        const drawn = Array.from({ length: n }, (_, i) => i).filter((i) => mask & (1 << i));
        if (drawn.length !== k) continue;
        draws++;
        hits += Number(drawn.some((i) => i < c));
      }
      expect(estimatePassAtK(n, c, k)).toBeCloseTo(hits / draws, 12);
    }
  });
});

describe('generated code', () => {
  it('is refused without leave', async () => {
    const run = twin('tasks/humaneval', 'utils.pass_at_k');
    await expect(async () =>
      run({ references: ['assert f() == 1'], predictions: [['def f(): return 1']], k: [1] }),
    ).rejects.toThrow(/--run-generated-code/);
  });

  it('passes or fails by its test, in a process without environment, home or time', async () => {
    process.env.USER_TOKEN = 'secret';
    const runCode = await pythonSandbox();
    const run = twin('tasks/humaneval', 'utils.pass_at_k');
    const good = 'def f(x):\n    return x + 1';
    const bad = 'def f(x):\n    return x';
    const scores = await run({
      references: ['assert f(1) == 2'],
      predictions: [[good, bad, good, 'def f(x) return']],
      k: [1, 2],
      runCode,
    });
    expect(scores).toEqual({ 'pass@1': 0.5, 'pass@2': expect.closeTo(5 / 6, 12) });
    expect(
      await twin('mbpp', 'utils.pass_at_1')({ references: ['assert f(1) == 2'], predictions: [good], runCode }),
    ).toBe(1);

    const results = await Promise.all(
      [
        'import os\nassert "USER_TOKEN" not in os.environ and os.listdir(".") == ["program.py"]',
        'import sys\nsys.exit(0)',
        'if __name__ == "__main__":\n    raise ValueError("not taken")',
        'input()',
        'x = bytearray(4 << 30)',
        'open("big", "wb").write(bytes(1 << 28))',
      ].map((program) => runCode(program)),
    );
    expect(results.map((result) => result.passed)).toEqual([true, false, true, false, false, false]);
    expect(results[3]!.result).toContain('EOFError');
  });

  it('ends in time, with the processes it started', async () => {
    const runCode = await pythonSandbox();
    const spawns =
      'import subprocess, sys\nsubprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])\nwhile True: pass';
    const startedAt = Date.now();
    expect(await runCode(spawns, { timeoutSeconds: 0.5 })).toEqual({ passed: false, result: 'timed out' });
    // The child sleeps for a minute and holds the pipes: had it lived, this would have waited for it.
    expect(Date.now() - startedAt).toBeLessThan(30_000);
  });

  it('cuts programs out of answers', () => {
    const build = twin('mbpp', 'utils.build_predictions');
    expect(build([['python\nx = 1\n```\nThat is it.', 'x = 2', '\n```python\nx = 3\n```']], [{}])).toEqual([
      ['x = 1', '', ''],
    ]);
    const instruct = twin('humaneval', 'utils.build_predictions_instruct');
    expect(instruct([['  return 1\n```\nDone']], [{ prompt: 'def f():\n' }])).toEqual([['def f():\n  return 1\n']]);
  });
});
