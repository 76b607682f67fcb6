// What was selected, as JSON lines: one file, or a folder with a file a topic and the lines of continuo.yaml that use them. Complete or absent.
import * as fs from 'node:fs';
import * as path from 'node:path';
import { readExactly, writeAll, writeFileInPieces, writeFolderAtomic } from '../../base/files.ts';
import type { Message } from '../conversation.ts';
import { openNameless } from '../nameless.ts';
import type { Document } from '../types.ts';

export type SelectionOutput = { file: string } | { folder: string };

/** A line of the file that is written. */
export interface SelectedDocument {
  id: string;
  text?: string;
  /** Instead of the text, where the document is a conversation. */
  messages?: Message[];
  source: string;
  cluster: number;
  topic: number;
  /** CRISP: share of its cluster in the target over that in the corpus; DSIR: ln importance; nearest: cosine; ifd: the difficulty; k-centre: cosine distance. */
  weight: number;
  metadata?: Record<string, unknown>;
}

export interface Chosen {
  document: Document;
  cluster: number;
  topic: number;
  weight: number;
}

export interface TopicFile {
  words: readonly string[];
  /** Share of the blend. */
  weight: number;
}

export const CORPORA_FILE = 'corpora.yaml';
const FILE_WORDS = 2;
const COPY_BYTES = 1 << 20;
const DOING = 'writing the selected documents';

export async function writeSelection(
  output: SelectionOutput,
  chosen: AsyncIterable<Chosen>,
  topics: readonly TopicFile[],
): Promise<void> {
  if ('file' in output) await writeFile(output.file, chosen);
  else await writeFolderAtomic(output.folder, (temporary) => writeTopics(temporary, output.folder, chosen, topics));
}

function lineOf({ document, cluster, topic, weight }: Chosen): Buffer {
  const { id, text, messages, source, metadata } = document;
  const line: SelectedDocument = {
    id,
    ...(messages ? { messages } : { text }),
    source,
    cluster,
    topic,
    weight: Number(weight.toPrecision(6)),
    ...(metadata && { metadata }),
  };
  return Buffer.from(`${JSON.stringify(line)}\n`);
}

/** Through a file without a name, so that a killed process leaves nothing behind. */
async function writeFile(file: string, chosen: AsyncIterable<Chosen>): Promise<void> {
  const { fd, file: nameless } = openNameless(file, 'texts', DOING);
  try {
    let size = 0;
    for await (const document of chosen) {
      const line = lineOf(document);
      writeAll(fd, line);
      size += line.length;
    }
    writeFileInPieces(file, (write) => {
      for (let at = 0; at < size; at += COPY_BYTES) {
        const piece = Buffer.allocUnsafe(Math.min(COPY_BYTES, size - at));
        readExactly(fd, piece, at, nameless);
        write(piece);
      }
    });
  } finally {
    fs.closeSync(fd);
  }
}

async function writeTopics(
  folder: string,
  finalFolder: string,
  chosen: AsyncIterable<Chosen>,
  topics: readonly TopicFile[],
): Promise<void> {
  const names = topics.map(({ words }, topic) => corpusName(topic, words));
  const files = new Map<number, number>();
  try {
    for await (const document of chosen) {
      let fd = files.get(document.topic);
      if (fd === undefined) {
        fd = fs.openSync(path.join(folder, `${names[document.topic]}.jsonl`), 'w');
        files.set(document.topic, fd);
      }
      writeAll(fd, lineOf(document));
    }
  } finally {
    for (const fd of files.values()) fs.closeSync(fd);
  }
  fs.writeFileSync(path.join(folder, CORPORA_FILE), corporaYaml(topics, names, files, finalFolder));
}

/** "topic-0-kernel-driver": letters that every file system and YAML take. */
function corpusName(topic: number, words: readonly string[]): string {
  const plain = words.map((word) => word.replace(/[^a-z0-9]/g, '')).filter((word) => word.length > 1);
  return ['topic', String(topic), ...plain.slice(0, FILE_WORDS)].join('-');
}

function corporaYaml(
  topics: readonly TopicFile[],
  names: readonly string[],
  files: ReadonlyMap<number, number>,
  folder: string,
): string {
  const lines = topics.flatMap(({ weight, words }, topic) =>
    files.has(topic) && weight > 0
      ? [
          `  # ${words.join(', ')}`,
          `  ${names[topic]}: { path: ${JSON.stringify(path.join(folder, `${names[topic]}.jsonl`))}, role: domain, weight: ${Number(weight.toPrecision(3))} }`,
        ]
      : [],
  );
  return [
    '# Paste into continuo.yaml. Weights are shares of the blend among these corpora.',
    'corpora:',
    ...lines,
    '',
  ].join('\n');
}
