import * as path from 'node:path';
import type { Command } from 'commander';
import { cacheFolder } from '../base/package.ts';
import { formatBytes, formatCount } from '../base/units.ts';
import type { ModelFacts } from '../checkpoint/index.ts';
import type { ModelShape } from '../recipe/index.ts';
import { type CommonOptions, declare, json, withOptions } from './command.ts';
import type { Output } from './output.ts';
import { formatKnownFacts } from './table.ts';

export function inspectCommand(output: Output): Command {
  const command = declare(
    'inspect',
    'Say what a model is: architecture, parameters, tokenizer, and whether it looks like a base or an instruct model, and why.',
    'continuo inspect HuggingFaceTB/SmolLM2-135M',
  ).argument('<model>', 'a model folder, a GGUF file or a hub id');
  return withOptions(command, 'json', 'quiet').action(async (model: string, options: CommonOptions) => {
    const [{ describeModel, openModel, resolveModel }, { knownDecoder }, { describePretraining, knownModel }] =
      await Promise.all([import('../checkpoint/index.ts'), import('../nn/index.ts'), import('../recipe/index.ts')]);
    const source = openModel(await resolveModel(model, cacheFolder('.'), { quiet: options.quiet || options.json }));
    try {
      const facts = describeModel(source);
      const known = knownModel(model) ?? knownModel(path.basename(path.resolve(model)), shapeOf(facts));
      // What a checkpoint records of itself goes before what is published of the model that it looks like.
      const published = facts.training?.pretraining ? undefined : known?.pretraining;
      const engines = knownDecoder(source.config) ? ['native', 'torch'] : ['torch'];
      output.print(
        options.json
          ? json({ ...facts, engines, published })
          : page(facts, engines, published && describePretraining(published), output),
      );
    } finally {
      source.close();
    }
  });
}

/** By which a model is recognised that is only a folder or a file. */
function shapeOf({ family, hiddenSize, numLayers, vocabRows, contextLength }: ModelFacts): ModelShape | undefined {
  if (hiddenSize === undefined || numLayers === undefined || contextLength === undefined) return undefined;
  return { modelType: family, hidden: hiddenSize, layers: numLayers, vocab: vocabRows, context: contextLength };
}

function page(facts: ModelFacts, engines: string[], published: string | undefined, { paint }: Output): string {
  const { parameters, tuning, training } = facts;
  const lines: [string, string | undefined][] = [
    ['model', facts.path],
    [
      'architecture',
      `${facts.architecture} (${facts.family}), ${facts.format === 'gguf' ? 'GGUF' : 'Hugging Face folder'}`,
    ],
    [
      'parameters',
      `${formatCount(parameters.total)}: ${formatCount(parameters.nonEmbedding)} in the layers, ${formatCount(parameters.embedding)} in the ${facts.tied ? 'embedding (tied to the output)' : 'embedding and the output'}`,
    ],
    ['experts', experts(facts)],
    ['shape', shape(facts)],
    ['context', facts.contextLength === undefined ? undefined : `${facts.contextLength} tokens`],
    ['stored as', storage(facts)],
    ['tokenizer', tokenizer(facts)],
    [
      'tuning',
      [tuning.summary, ...tuning.evidence.map((item) => paint.dim(`for ${item.for}: ${item.text}`))].join('\n'),
    ],
    [
      'trained by',
      engines.length > 1
        ? 'either engine'
        : `engine: torch, if transformers knows ${facts.family} as a causal language model; the native engine does not`,
    ],
    ['pretraining', published],
    ['trained here', training && JSON.stringify(training)],
  ];
  return formatKnownFacts(lines, paint);
}

function experts({ experts: facts, parameters }: ModelFacts): string | undefined {
  return (
    facts &&
    `a token passes ${facts.perToken} of ${facts.num} in a layer, and ${formatCount(parameters.active)} parameters in all`
  );
}

function shape(facts: ModelFacts): string {
  const parts = [
    facts.numLayers !== undefined && `${facts.numLayers} layers`,
    facts.hiddenSize !== undefined && `hidden ${facts.hiddenSize}`,
    facts.intermediateSize !== undefined && `feed-forward ${facts.intermediateSize}`,
    facts.numHeads !== undefined && `${facts.numHeads} heads`,
    facts.numKvHeads !== undefined && facts.numKvHeads !== facts.numHeads && `${facts.numKvHeads} key-value heads`,
    facts.headDim !== undefined && `${facts.headDim} a head`,
  ];
  return parts.filter(Boolean).join(', ');
}

function storage(facts: ModelFacts): string {
  const kinds = Object.entries(facts.bytesByDtype).toSorted((a, b) => b[1] - a[1]);
  const mixed =
    kinds.length > 1 ? ` (${kinds.map(([kind, bytes]) => `${kind} ${formatBytes(bytes)}`).join(', ')})` : '';
  return `${facts.dtype}, ${formatBytes(facts.sizeBytes)} in ${facts.numTensors} tensors${mixed}`;
}

function tokenizer({ tokenizer: facts, tokenizerProblem, vocabRows }: ModelFacts): string {
  if (!facts) return tokenizerProblem ?? 'none';
  const spare = vocabRows === facts.vocabSize ? '' : `, ${vocabRows} rows in the embedding`;
  const ends = `a document begins with ${facts.documentStart ?? 'nothing'} and ends with ${facts.documentEnd ?? 'nothing'}`;
  return `${facts.kind}, ${facts.vocabSize} entries${spare}\n${ends}; ${facts.chatTemplate ? 'has' : 'no'} chat template`;
}
