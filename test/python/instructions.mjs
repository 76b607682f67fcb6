// Checks responses for the Python tests: { calls: [[id, arguments, prompt, response], ...], texts: [...] } on standard input;
// { follows: [...], sentences: [[...], ...] } on standard output.
import * as fs from 'node:fs';
import { checkInstruction, scoreInstructions, splitSentences } from '../../dist/eval/instructions/index.js';

const { calls = [], scores = [], texts = [] } = JSON.parse(fs.readFileSync(0, 'utf8'));
console.log(
  JSON.stringify({
    follows: calls.map((call) => checkInstruction(...call)),
    scores: scores.map(([asked, response]) => scoreInstructions(asked, response)),
    sentences: texts.map(splitSentences),
  }),
);
