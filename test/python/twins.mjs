// Calls twins for the Python tests: a request a line on standard input, an answer a line on standard output.
// Request: { folder, name, args }, for a filter also its options: args are then (responses, docs). Only `has`: whether there is such a twin.
// Or { math: [answers, responses] }: both normal forms of answers, and the answers that responses state.
// Answer: { value }, { error } where it throws, { missing } where there is no such twin.
import * as readline from 'node:readline';
import { twinsOf } from '../../dist/eval/twins/index.js';
import { finalAnswer, leaderboardForm, minervaForm } from '../../dist/eval/twins/math.js';

// Numbers that JSON has no word for, as texts.
const plain = (_, value) => (typeof value === 'number' && !Number.isFinite(value) ? String(value) : value);

async function answer({ folder, name, args, options, has, math }) {
  if (math) {
    const [answers, responses] = math;
    return { value: [answers.map(minervaForm), answers.map(leaderboardForm), responses.map(finalAnswer)] };
  }
  const twin = twinsOf(folder)?.[name];
  if (has) return { value: twin !== undefined };
  if (!twin) return { missing: true };
  try {
    return { value: (await (options ? twin(options).apply(...args) : twin(...args))) ?? null };
  } catch (error) {
    return { error: String(error) };
  }
}

for await (const line of readline.createInterface({ input: process.stdin }))
  console.log(JSON.stringify(await answer(JSON.parse(line)), plain));
