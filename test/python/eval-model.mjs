// Puts requests to a checkpoint as a LanguageModel, for the Python tests.
// Usage: node test/python/eval-model.mjs REQUEST.json, with { model, maxTokens, likelihoods: [[context, continuation]], rolling: [text],
//   generate: [{ prompt, until, maxTokens }], chat: messages }; prints one line of JSON.
import * as fs from 'node:fs';
import { openModel } from '../../dist/checkpoint/index.js';
import { nativeModel } from '../../dist/eval/index.js';
import { pickKernels } from '../../dist/kernels/index.js';
import { loadDecoder } from '../../dist/nn/index.js';

const request = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'));
const source = openModel(request.model);
const decoder = loadDecoder(source, 'f32', pickKernels(), 'inference');
const model = nativeModel(source, decoder, { maxTokens: request.maxTokens });
const likelihoods = await model.likelihoods(
  request.likelihoods.map(([context, continuation]) => ({ context, continuation })),
);
const rolling = await model.rollingLikelihoods(request.rolling);
const generated = await model.generate(request.generate);
const chat = request.chat && model.renderChat(request.chat);
model.close();
console.log(JSON.stringify({ likelihoods, rolling, generated, chat }));
