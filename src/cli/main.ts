#!/usr/bin/env node
// The command line's entry: hands the arguments over and takes the exit code back.
import { processOutput } from './output.ts';
import { runCli } from './program.ts';

// A reader that left early (`continuo plan | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await runCli(process.argv.slice(2), processOutput());
