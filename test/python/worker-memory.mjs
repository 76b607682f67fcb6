// What the planner counts for a GPU. Usage: node test/python/worker-memory.mjs JSON; JSON: { config, shapes }. Prints a JSON list.
import { countWorkerMemory } from '../../dist/nn/index.js';

const { config, shapes } = JSON.parse(process.argv[2]);
console.log(JSON.stringify(shapes.map((shape) => countWorkerMemory(config, shape))));
