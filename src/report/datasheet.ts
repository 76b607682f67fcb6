// The datasheet of a corpus: what it is made of, what was done to it, what it holds (after Gebru et al. 2021, "Datasheets for Datasets"),
// as Markdown for people and as JSON-LD in the Croissant format (mlcommons.org/croissant) for programs.
import { formatBytes, formatCount } from '../base/units.ts';
import type { CuratedManifest, StepCounts } from '../corpus/index.ts';
import type { CorpusManifest } from '../shards/index.ts';
import { bullets, joinBlocks, tableMarkdown } from './markdown.ts';

export interface CorpusCard {
  name: string;
  role: string;
  /** As continuo.yaml names them. */
  paths: readonly string[];
  /** Where the corpus was cleaned. */
  curated?: CuratedManifest;
  shards: CorpusManifest;
}

const MAX_REASONS = 4;

/** datasheet.md */
export function datasheetMarkdown({ name, role, paths, curated, shards }: CorpusCard): string {
  const inputs = curated?.inputs ?? shards.inputs;
  const total = shards.train.numTokens + shards.heldOut.numTokens;
  return joinBlocks([
    `# Corpus "${name}"`,
    `Role in training: ${role}. Made ${shards.createdAt.slice(0, 10)}; fingerprint ${shards.fingerprint}.`,
    '## Where it comes from',
    bullets([
      `${paths.map((one) => `\`${one}\``).join(', ')}`,
      `${formatCount(inputs.numFiles)} files, ${formatBytes(inputs.numBytes)}; digest of the list ${inputs.digest}`,
      ...Object.entries(inputs.skippedByEnding).map(
        ([ending, n]) => `${formatCount(n)} files without a reader (${ending}) left out`,
      ),
    ]),
    ...(curated ? ['## What was done to it', cleaning(curated)] : []),
    '## What it holds',
    tableMarkdown({
      columns: [
        { title: '' },
        { title: 'documents', align: 'right' },
        { title: 'tokens', align: 'right' },
        { title: 'text', align: 'right' },
        { title: 'words', align: 'right' },
      ],
      rows: (['train', 'heldOut'] as const).map((split) => {
        const { numDocuments, numTokens, numBytes, numWords } = shards[split];
        const title = split === 'train' ? 'to train on' : 'held out, to measure on';
        return [title, formatCount(numDocuments), formatCount(numTokens), formatBytes(numBytes), formatCount(numWords)];
      }),
    }),
    bullets([
      `languages by share of the text: ${languages(shards.languages)}`,
      `${formatCount(shards.train.numCopies)} training documents are exact copies of earlier ones`,
      `${(total / Math.max(1, shards.train.numWords + shards.heldOut.numWords)).toFixed(2)} tokens a word; tokenizer of ${formatCount(shards.vocabSize)} entries, digest ${shards.tokenizerDigest}`,
      `left out while reading: ${formatCount((curated?.read.numBadRecords ?? 0) + shards.removed.badRecords)} bad records, ${formatCount((curated?.read.numEmptyDocuments ?? 0) + shards.removed.emptyDocuments)} empty documents, ${formatCount(shards.removed.heldOutCopies)} further copies of held-out documents`,
      ...(shards.conversations ? [`${formatCount(shards.conversations.num)} documents are conversations`] : []),
    ]),
    '## For the owner to state',
    bullets([
      'licence, and terms of the sources',
      'who collected it, when, and for what',
      'whether people appear in it, and on what grounds their data may be used',
      'what it should not be used for',
    ]),
  ]);
}

function cleaning(curated: CuratedManifest): string {
  const { steps, given, kept } = curated;
  const rows = steps.map((step) => [
    step.name,
    formatCount(step.removed.numDocuments),
    formatBytes(step.removed.numBytes),
    formatCount(step.changed.numDocuments),
    describeEffects(step, MAX_REASONS),
  ]);
  return joinBlocks([
    `${formatCount(kept.numDocuments)} of ${formatCount(given.numDocuments)} documents and ${formatBytes(kept.numBytes)} of ${formatBytes(given.numBytes)} were kept. Removed documents, each with its reason, are in \`removed/\` of the cleaned corpus.`,
    tableMarkdown({
      columns: [
        { title: 'step' },
        { title: 'documents removed', align: 'right' },
        { title: 'text', align: 'right' },
        { title: 'documents changed', align: 'right' },
        { title: 'what' },
      ],
      rows,
    }),
  ]).trimEnd();
}

/** What a step did, largest first: "too few words 120, mail addresses 14". */
export function describeEffects({ reasons, changes }: StepCounts, most: number): string {
  return [
    ...Object.entries(reasons).map(([reason, { numDocuments }]) => [reason, numDocuments] as const),
    ...Object.entries(changes),
  ]
    .toSorted((a, b) => b[1] - a[1])
    .slice(0, most)
    .map(([what, n]) => `${what} ${formatCount(n)}`)
    .join(', ');
}

function languages(byLanguage: Record<string, number>): string {
  const total = Object.values(byLanguage).reduce((sum, bytes) => sum + bytes, 0);
  const shown = Object.entries(byLanguage).slice(0, 5);
  return (
    shown
      .map(([language, bytes]) => `${language} ${Number(((100 * bytes) / Math.max(1, total)).toPrecision(2))} %`)
      .join(', ') || 'unknown'
  );
}

/** croissant.json beside the cleaned documents: what mlcroissant and dataset search engines read. */
export function croissant({
  name,
  paths,
  curated,
}: Pick<CorpusCard, 'name' | 'paths'> & { curated: CuratedManifest }): object {
  const source = (column: string) => ({ fileSet: { '@id': 'documents' }, extract: { column } });
  const field = (column: string, description: string) => ({
    '@type': 'cr:Field',
    '@id': `document/${column}`,
    name: `document/${column}`,
    description,
    dataType: 'sc:Text',
    source: source(column),
  });
  return {
    '@context': CONTEXT,
    '@type': 'sc:Dataset',
    name,
    description: `${curated.kept.numDocuments} documents, cleaned by ${curated.steps.map((step) => step.name).join(', ')} from ${paths.join(', ')}.`,
    conformsTo: 'http://mlcommons.org/croissant/1.0',
    version: '1.0.0',
    datePublished: curated.createdAt.slice(0, 10),
    distribution: [
      ...curated.parts.map(({ file, digest }) => ({
        '@type': 'cr:FileObject',
        '@id': file,
        name: file,
        contentUrl: file,
        encodingFormat: 'application/jsonlines',
        sha256: digest,
      })),
      {
        '@type': 'cr:FileSet',
        '@id': 'documents',
        name: 'documents',
        containedIn: curated.parts.map(({ file }) => ({ '@id': file })),
        encodingFormat: 'application/jsonlines',
        includes: 'documents/*.jsonl',
      },
    ],
    recordSet: [
      {
        '@type': 'cr:RecordSet',
        '@id': 'document',
        name: 'document',
        field: [
          field('id', 'Where the document was read: file, then line, row or part'),
          field('text', 'The text; absent where the document is a conversation'),
          field('source', 'The file it came from'),
        ],
      },
    ],
  };
}

/** Of Croissant 1.0. */
const CONTEXT = {
  '@language': 'en',
  '@vocab': 'https://schema.org/',
  citeAs: 'cr:citeAs',
  column: 'cr:column',
  conformsTo: 'dct:conformsTo',
  cr: 'http://mlcommons.org/croissant/',
  data: { '@id': 'cr:data', '@type': '@json' },
  dataType: { '@id': 'cr:dataType', '@type': '@vocab' },
  dct: 'http://purl.org/dc/terms/',
  examples: { '@id': 'cr:examples', '@type': '@json' },
  extract: 'cr:extract',
  field: 'cr:field',
  fileObject: 'cr:fileObject',
  fileProperty: 'cr:fileProperty',
  fileSet: 'cr:fileSet',
  format: 'cr:format',
  includes: 'cr:includes',
  isLiveDataset: 'cr:isLiveDataset',
  jsonPath: 'cr:jsonPath',
  key: 'cr:key',
  md5: 'cr:md5',
  parentField: 'cr:parentField',
  path: 'cr:path',
  rai: 'http://mlcommons.org/croissant/RAI/',
  recordSet: 'cr:recordSet',
  references: 'cr:references',
  regex: 'cr:regex',
  repeated: 'cr:repeated',
  replace: 'cr:replace',
  sc: 'https://schema.org/',
  separator: 'cr:separator',
  source: 'cr:source',
  subField: 'cr:subField',
  transform: 'cr:transform',
};
