// The program `continuo`: all commands, and how their errors end. Usage errors and ConfigError exit with 2, DataError with 3,
// EngineError with 4, Ctrl-C with 130, defects of our own with 1.
import { Command, CommanderError } from 'commander';
import { isUserError } from '../base/errors.ts';
import { packageVersion } from '../base/package.ts';
import { adapterCommand } from './adapter.ts';
import { chatCommand } from './chat.ts';
import { Exit } from './command.ts';
import { compareCommand } from './compare.ts';
import { dataCommand } from './data.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { evalCommand } from './eval.ts';
import { evalDiffCommand } from './eval-diff.ts';
import { evalLongCommand } from './eval-long.ts';
import { evalLossCommand } from './eval-loss.ts';
import { evalWritingCommand } from './eval-writing.ts';
import { exportCommand } from './export.ts';
import { generateCommand } from './generate.ts';
import { initCommand } from './init.ts';
import { inspectCommand } from './inspect.ts';
import { launchCommand } from './launch.ts';
import { lintCommand } from './lint.ts';
import { mergeCommand } from './merge.ts';
import { mineCommand } from './mine.ts';
import { mixCommand } from './mix.ts';
import type { Output } from './output.ts';
import { perturbCommand } from './perturb.ts';
import { planCommand } from './plan.ts';
import { probesCommand } from './probes.ts';
import { reportCommand } from './report.ts';
import { runCommand } from './run.ts';
import { serveCommand } from './serve.ts';
import { torchCommand } from './torch.ts';
import { trainCommand } from './train.ts';
import { vocabCommand } from './vocab.ts';

const COMMANDS = [
  initCommand,
  inspectCommand,
  dataCommand,
  mineCommand,
  vocabCommand,
  mergeCommand,
  perturbCommand,
  adapterCommand,
  planCommand,
  mixCommand,
  lintCommand,
  runCommand,
  launchCommand,
  exportCommand,
  trainCommand,
  evalCommand,
  probesCommand,
  evalDiffCommand,
  evalLongCommand,
  evalWritingCommand,
  evalLossCommand,
  generateCommand,
  chatCommand,
  serveCommand,
  reportCommand,
  compareCommand,
  demoCommand,
  torchCommand,
  doctorCommand,
];

export function createProgram(output: Output): Command {
  const program = new Command('continuo')
    .description(
      'Continues the pretraining of language models: one file, one command, and the evidence of what was learned and forgotten.',
    )
    .version(packageVersion(), '--version', 'print the version')
    .addHelpText('after', '\nExample:\n  continuo init && continuo plan && continuo run');
  for (const make of COMMANDS) program.addCommand(make(output));
  for (const command of [program, ...program.commands, ...program.commands.flatMap((one) => one.commands)])
    command
      .helpOption('-h, --help', 'print this help')
      .exitOverride()
      .showSuggestionAfterError()
      .configureOutput({
        writeOut: (text) => output.print(text.trimEnd()),
        writeErr: (text) => output.note(text.trimEnd()),
      });
  return program;
}

/** Runs one command line; prints what went wrong and returns the exit code. */
export async function runCli(args: readonly string[], output: Output): Promise<number> {
  const program = createProgram(output);
  try {
    if (args.length === 0) {
      output.print(program.helpInformation().trimEnd());
      return 0;
    }
    await program.parseAsync(args, { from: 'user' });
    return 0;
  } catch (error) {
    return report(error, output);
  }
}

const EXIT_USAGE = 2;
const EXIT_INTERNAL = 1;

function report(error: unknown, output: Output): number {
  if (error instanceof Exit) return error.exitCode;
  // commander has printed its message already; help and version arrive here with code 0.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const stack = error instanceof Error ? error.stack : undefined;
  if (process.env.CONTINUO_DEBUG === '1' && stack) output.note(stack);
  if (isUserError(error)) {
    output.note(`${output.paint.red('error:')} ${error.message}`);
    return error.exitCode;
  }
  const message = error instanceof Error ? error.message : String(error);
  output.note(`internal: ${message.replace(/^internal: /, '').split('\n')[0]}`);
  output.note('This is a defect of continuo. Set CONTINUO_DEBUG=1 to see where it arose.');
  return EXIT_INTERNAL;
}
