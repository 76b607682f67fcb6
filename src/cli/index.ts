// The door of the command line, for tests and embedding.
export { makePaint, type Output, wantsColor } from './output.ts';
export { createProgram, runCli } from './program.ts';
export { displayWidth, formatFacts, formatTable } from './table.ts';
