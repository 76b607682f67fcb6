// Builds and runs the tests of native/ outside JavaScript, for every instruction set that the machine runs:
//
//   node test/native/run.mjs [--strict] [plain] [address] [thread] [arm]     default: all four
//
// plain: optimised as it is installed; arrays and scratch memory end at guard pages. address: AddressSanitizer and
// UndefinedBehaviorSanitizer. thread: ThreadSanitizer. arm: the NEON kernels, cross-compiled and run under qemu-user.
// What the machine has no compiler, sanitizer or emulator for is said in one line and skipped; with --strict that is a failure, but
// for arm, which needs packages that few machines have.
// Ends with "N passed, N failed".
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FLAGS, run, sideBySide, variantsOf } from '../../scripts/native-compiler.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));
const native = path.join(here, '..', '..', 'native');
const runs = (command) => spawnSync(command, ['--version']).status === 0;
const HOST = process.env.CXX ?? ['c++', 'g++', 'clang++'].find(runs) ?? 'c++';
// Exact scratch needs a linker that can wrap a symbol by its mangled name.
const EXACT_SCRATCH = process.platform === 'linux' ? ['-Wl,--wrap=_Z12scratchBytesim'] : [];

// -O1 under the sanitizers: compiling takes a third of the time of -O3, running twice that of -O3.
const MODES = {
  plain: { compiler: HOST, arch: process.arch, flags: ['-O3'], link: EXACT_SCRATCH },
  address: {
    compiler: HOST,
    arch: process.arch,
    flags: ['-O1', '-g1', '-fsanitize=address,undefined,float-cast-overflow', '-fno-sanitize-recover=all'],
    link: EXACT_SCRATCH,
    hint: 'AddressSanitizer and UndefinedBehaviorSanitizer come with g++ (Debian and Ubuntu: apt install libasan8 libubsan1)',
  },
  thread: {
    compiler: HOST,
    arch: process.arch,
    flags: ['-O1', '-g1', '-fsanitize=thread'],
    link: [],
    hint: 'ThreadSanitizer comes with g++ (Debian and Ubuntu: apt install libtsan2)',
  },
  arm: {
    compiler: 'aarch64-linux-gnu-g++',
    arch: 'arm64',
    flags: ['-O3'],
    link: ['-static', ...EXACT_SCRATCH],
    emulator: 'qemu-aarch64',
    hint: 'Debian and Ubuntu: apt install g++-aarch64-linux-gnu qemu-user',
  },
};
// For a deadlock to end; a run takes some seconds, under ThreadSanitizer on a busy machine minutes.
const TIMEOUT_MS = 30 * 60_000;
const ENVIRONMENT = {
  ...process.env,
  // Threads live as long as the process, so their scratch memory is no leak. The stacks by which GCC up to 13 detects a use after return
  // are not aligned for AVX-512 (GCC bug 110027).
  ASAN_OPTIONS: 'detect_leaks=0:detect_stack_use_after_return=0:strict_init_order=1',
  UBSAN_OPTIONS: 'print_stacktrace=1',
  TSAN_OPTIONS: 'halt_on_error=1',
};

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-native-tests-'));
process.on('exit', () => fs.rmSync(folder, { recursive: true, force: true }));

/** Why this machine cannot do a mode, or undefined. */
async function obstacle({ compiler, flags, link, emulator, hint }) {
  if (!runs(compiler)) return `no C++ compiler ${compiler}. ${hint ?? ''}`;
  if (emulator && !runs(emulator)) return `no emulator ${emulator}. ${hint}`;
  const program = path.join(folder, 'empty');
  fs.writeFileSync(`${program}.cc`, 'int main() {}\n');
  const { code } = await run(compiler, [...flags, ...link, '-pthread', `${program}.cc`, '-o', program]);
  return code === 0 ? undefined : `${compiler} cannot link with ${flags.join(' ')}. ${hint ?? ''}`;
}

/**
 * A function that several objects define (a template, an inline function of the standard library) is linked once, from any of them: from
 * one for AVX-512, it would stop every older processor. So a variant may define nothing of that kind outside its namespace.
 */
async function checkLinkage(name, variant, object) {
  const { output } = await run('nm', ['-C', '--defined-only', object]);
  const shared = output.split('\n').filter((line) => / [Wu] /.test(line) && !line.includes(`${variant}::`));
  if (shared.length > 0)
    console.log(`${name} ${variant}: defines what other objects may define too:\n${shared.join('\n')}`);
  shared.length > 0 ? failed++ : passed++;
}

/** Compiles everything of one mode, side by side, and links it; resolves to the program's path. */
async function build(name, { compiler, arch, flags, link }) {
  const variants = variantsOf(arch);
  const names = [];
  for (const v in variants)
    if ((await run(compiler, [...variants[v], '-E', '-o', '/dev/null', '-x', 'c++', '/dev/null'])).code === 0)
      names.push(v);
    else console.log(`${name} ${v}: skipped: ${compiler} does not know this instruction set`);
  const object = (source) => path.join(folder, `${name}-${source}.o`);
  const common = [...FLAGS, ...flags, ...(link.length > 0 ? ['-DEXACT_SCRATCH'] : [])];
  const compile = (output, source, more) => async () => {
    const args = [...common, ...more, '-c', source, '-o', object(output)];
    const { code, output: complaint } = await run(compiler, args);
    return code === 0 ? undefined : complaint;
  };
  const kernels = path.join(native, 'kernels.cc');
  const tests = fs.readdirSync(here).filter((file) => file.endsWith('.cc'));
  // Longest first. A warning about a kernel is build-native.mjs's to show.
  const complaints = await sideBySide([
    ...names.map((v) => compile(`kernels-${v}`, kernels, ['-w', `-DCONTINUO_VARIANT=${v}`, ...variants[v]])),
    ...tests.map((file) => compile(file, path.join(here, file), ['-Werror', ...names.map((v) => `-DHAS_${v}`)])),
    compile('threads', path.join(native, 'threads.cc'), []),
  ]);
  for (const complaint of complaints) if (complaint) throw new Error(complaint);
  for (const v of names) await checkLinkage(name, v, object(`kernels-${v}`));
  const objects = [...names.map((v) => `kernels-${v}`), ...tests, 'threads'].map(object);
  const program = path.join(folder, `${name}-test`);
  const { code, output } = await run(compiler, [...flags, ...link, '-pthread', ...objects, '-o', program]);
  if (code !== 0) throw new Error(output);
  return program;
}

/** Runs a test program; where the kernel places memory too randomly for ThreadSanitizer, once more without that. */
async function execute({ emulator }, program, args) {
  const command = emulator ? [emulator, program, ...args] : [program, ...args];
  const options = { env: ENVIRONMENT, timeout: TIMEOUT_MS };
  const result = await run(command[0], command.slice(1), options);
  if (!/ThreadSanitizer: unexpected memory mapping/.test(result.output)) return result;
  return run('setarch', [os.machine(), '-R', ...command], options);
}

let passed = 0;
let failed = 0;

async function test(name, mode) {
  const started = Date.now();
  const program = await build(name, mode);
  const seconds = () => ((Date.now() - started) / 1000).toFixed(0);
  console.log(`${name}: built in ${seconds()} s`);
  const variants = (await execute(mode, program, ['--list'])).output.trim().split('\n');
  const results = await sideBySide(variants.map((variant) => () => execute(mode, program, [variant])));
  for (const [i, { code, output }] of results.entries()) {
    const counts = /: (\d+) passed, (\d+) failed\n$/.exec(output);
    // A program that died has failed, whatever it counted before.
    passed += Number(counts?.[1] ?? 0);
    failed += Number(counts?.[2] ?? 1) || (code === 0 ? 0 : 1);
    for (const line of output.trimEnd().split('\n')) console.log(`${name} ${line}`);
    if (!counts) console.log(`${name} ${variants[i]}: the tests ended with code ${code}`);
  }
  console.log(`${name}: done after ${seconds()} s`);
}

const strict = process.argv.includes('--strict');
const asked = process.argv.slice(2).filter((word) => word !== '--strict');
for (const name of asked.length > 0 ? asked : Object.keys(MODES)) {
  const mode = MODES[name];
  if (!mode) throw new Error(`unknown mode ${name}; expected ${Object.keys(MODES).join(', ')}`);
  const why = await obstacle(mode);
  if (why) {
    const fatal = strict && !mode.emulator;
    console.log(`${name}: ${fatal ? 'FAILED' : 'skipped'}: ${why}`);
    if (fatal) failed++;
  } else {
    await test(name, mode).catch((error) => {
      console.log(`${name}: ${error.message}`);
      failed++;
    });
  }
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
