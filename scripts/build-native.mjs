// Compiles native/ into native/build/continuo.node with the machine's own C++ compiler, as part of `npm install`. Not a build system:
// a few files, one link. A machine without a compiler is no error, since Continuo also runs, slowly, on its reference kernels; so this
// prints one line then and exits 0. A digest of the sources, flags and compiler beside the result makes the second build instant.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { createRequire } from 'node:module';
import * as path from 'node:path';
import { fileURLToPath } from 'node:url';
import { FLAGS, run, sideBySide, variantsOf } from './native-compiler.mjs';

const native = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'native');
const build = path.join(native, 'build');
const target = path.join(build, 'continuo.node');
const stamp = path.join(build, 'continuo.digest');

const COMMON = ['-O3', ...FLAGS];

/** What to do on this kind of machine, for the message that says that there is no compiler. */
function installHint() {
  if (process.platform === 'darwin') return 'xcode-select --install';
  if (process.platform === 'win32') return 'WSL, which has everything that Continuo needs';
  return 'g++ (Debian and Ubuntu: apt install g++; Fedora: dnf install gcc-c++)';
}

function giveUp(reason) {
  console.log(
    `continuo: ${reason}; Continuo will run on its slow reference kernels. Install ${installHint()}, then: npm run build:native`,
  );
  process.exit(0);
}

/** The first compiler that answers, as [command, version]. */
function findCompiler() {
  for (const command of process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++']) {
    const { status, stdout } = spawnSync(command, ['--version'], { encoding: 'utf8' });
    if (status === 0) return [command, stdout.split('\n')[0]];
  }
  return undefined;
}

function sources(folder) {
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.name !== 'build')
    .flatMap((entry) =>
      entry.isDirectory() ? sources(path.join(folder, entry.name)) : [path.join(folder, entry.name)],
    )
    .sort();
}

/** Runs the compiler; resolves to undefined, or to what it complained about. */
async function compile(args) {
  const { code, output } = await run(command, args);
  return code === 0 ? undefined : output || `exit code ${code}`;
}

/** The line of a compiler's complaint that says what is wrong. */
function gist(complaint) {
  if (process.env.CONTINUO_BUILD_VERBOSE) console.log(complaint);
  const lines = complaint.split('\n');
  return (lines.find((line) => line.includes('error')) ?? lines[0]).trim();
}

if (process.platform === 'win32') giveUp('native kernels are not built on Windows');
const compiler = findCompiler();
if (!compiler)
  giveUp(process.env.CXX ? `the C++ compiler $CXX (${process.env.CXX}) does not run` : 'found no C++ compiler');
const [command, version] = compiler;

let headers;
try {
  headers = createRequire(import.meta.url)('node-api-headers').include_dir;
} catch {
  giveUp('the package node-api-headers is missing');
}

const variants = variantsOf(process.arch);
const files = sources(native);
const digest = createHash('sha256');
for (const text of [version, process.arch, process.platform, JSON.stringify([COMMON, variants])])
  digest.update(`${text}\n`);
for (const file of files) digest.update(path.relative(native, file)).update(fs.readFileSync(file));
const wanted = digest.digest('hex');
if (fs.existsSync(target) && fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === wanted) process.exit(0);

const started = Date.now();
const temporary = path.join(build, `tmp-${process.pid}`);
fs.mkdirSync(temporary, { recursive: true });
const object = (name) => path.join(temporary, `${name}.o`);
const compileArgs = (name, source, flags) => [
  ...COMMON,
  ...flags,
  ...['-c', path.join(native, source), '-o', object(name)],
];

/** Compiles and links; an instruction set that the compiler does not know is left out. Resolves to what could not be done without. */
async function compileAll() {
  const names = Object.keys(variants);
  const jobs = [
    ...names.map((name) => compileArgs(name, 'kernels.cc', [...variants[name], `-DCONTINUO_VARIANT=${name}`])),
    compileArgs('threads', 'threads.cc', []),
  ];
  const complaints = await sideBySide(jobs.map((args) => () => compile(args)));
  const problem = complaints[names.length - 1] ?? complaints[names.length];
  if (problem !== undefined) return problem;
  for (const [i, name] of names.entries())
    if (complaints[i] !== undefined)
      console.log(`continuo: ${command} cannot build the ${name} kernels, which are left out (${gist(complaints[i])})`);
  const built = names.filter((_, i) => complaints[i] === undefined);
  const linkFlags = process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : [];
  const objects = [...built, 'threads', 'addon'].map(object);
  return (
    (await compile(compileArgs('addon', 'addon.cc', [`-I${headers}`, ...built.map((name) => `-DHAS_${name}`)]))) ??
    (await compile(['-shared', '-pthread', ...linkFlags, ...objects, '-o', library]))
  );
}

const library = path.join(temporary, 'continuo.node');
const failure = await compileAll();
if (failure === undefined) {
  fs.renameSync(library, target);
  fs.writeFileSync(stamp, wanted);
}
fs.rmSync(temporary, { recursive: true, force: true });
if (failure !== undefined)
  giveUp(`compiling the native kernels with ${command} failed (${gist(failure)}; CONTINUO_BUILD_VERBOSE=1 shows all)`);
console.log(`continuo: native kernels built in ${((Date.now() - started) / 1000).toFixed(0)} s (${version})`);
