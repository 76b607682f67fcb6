// The program run in this process, with what it prints.
import { makePaint, runCli } from '../../src/cli/index.ts';

export interface Ran {
  code: number;
  /** Results, as they would stand on stdout. */
  out: string;
  /** Remarks and errors. */
  err: string;
}

export async function runInProcess(args: readonly string[]): Promise<Ran> {
  const [out, err]: [string[], string[]] = [[], []];
  const output = {
    print: (text: string) => out.push(`${text}\n`),
    write: (text: string) => out.push(text),
    note: (text: string) => err.push(text),
    paint: makePaint(false),
  };
  const code = await runCli(args, output);
  return { code, out: out.join(''), err: err.join('\n') };
}
