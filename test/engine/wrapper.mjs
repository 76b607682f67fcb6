// Starts an engine as its child and prints the child's process id: a parent for tests to kill.
import { spawn } from 'node:child_process';

const child = spawn(process.execPath, process.argv.slice(2), { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
process.stdout.write(`${child.pid}\n`);
child.stdout.resume();
child.on('exit', (code) => process.exit(code ?? 1));
