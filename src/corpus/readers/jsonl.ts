// .jsonl and .ndjson, plain or compressed: a line is a record, its text in one field or several. Blank lines are no records.
import { isUtf8 } from 'node:buffer';
import { formatBytes } from '../../base/units.ts';
import { DamagedInput, readBytes, readUtf8, utf16Of } from '../bytes.ts';
import { conversationOf, MESSAGE_FIELDS, type Message, messagesOf } from '../conversation.ts';
import { metadataOf, parseField, type TextField, textOfRecord } from '../fields.ts';
import { type Line, splitLines } from '../lines.ts';
import { normalizeText, notUtf8, withoutCarriageReturn } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

export async function* readJsonlFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  const field = parseField(options.field);
  try {
    for await (const line of linesOf(file, options)) {
      const result = parseLine(line, field, options);
      if (result === undefined) continue;
      const place = file.range
        ? { file: file.path, offset: line.offset }
        : { file: file.path, line: line.number, offset: line.offset };
      if ('reason' in result) {
        yield { bad: { ...place, reason: result.reason } };
        continue;
      }
      const { text, messages, metadata } = result;
      const id = file.range ? `${file.path}@${line.offset}` : `${file.path}:${line.number}`;
      yield {
        document: {
          id,
          text: normalizeText(text),
          source: file.path,
          ...(messages ? { messages } : {}),
          ...(metadata ? { metadata } : {}),
        },
      };
    }
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield { bad: { file: file.path, offset: error.offset, reason: error.message, losesRest: true } };
  }
}

/** All lines, or those that begin in the file's range, with offsets from the file's beginning. */
async function* linesOf(file: InputFile, { onBytes, maxRecordBytes }: ReaderOptions): AsyncGenerator<Line> {
  if (!file.range) {
    yield* splitLines(readUtf8(file, onBytes), maxRecordBytes);
    return;
  }
  const { start, end } = file.range;
  // Places in a file of UTF-16 are not those of its UTF-8: who reads the first part reads all.
  if (utf16Of(await headOf(file))) {
    if (start === 0) yield* splitLines(readUtf8(file, onBytes), maxRecordBytes);
    return;
  }
  if (end <= start) return;
  // A line begins at `start` where the byte before it ends one: what precedes the first line end belongs to the part before.
  const from = Math.max(0, start - 1);
  for await (const line of splitLines(readUtf8({ ...file, start: from }, onBytes), maxRecordBytes)) {
    const offset = from + line.offset;
    if (offset >= end) return;
    if (offset >= start && (line.number > 1 || start === 0)) yield { ...line, offset };
  }
}

/** The first bytes of a file. */
async function headOf(file: InputFile): Promise<Uint8Array> {
  for await (const piece of readBytes(file, () => {})) return piece;
  return new Uint8Array(0);
}

interface Content {
  text: string;
  messages?: Message[];
  metadata?: Record<string, unknown>;
}

function parseLine(line: Line, field: TextField, options: ReaderOptions): Content | { reason: string } | undefined {
  if (!line.bytes)
    return {
      reason: `a line of ${formatBytes(line.lengthBytes)}, at most ${formatBytes(options.maxRecordBytes)} accepted`,
    };
  const bytes = withoutCarriageReturn(line.bytes);
  if (!isUtf8(bytes)) return { reason: notUtf8(bytes, ' of the line') };
  let source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (line.offset === 0 && source.charCodeAt(0) === 0xfeff) source = source.slice(1);
  if (source.trim() === '') return undefined;
  let record: unknown;
  try {
    record = JSON.parse(source);
  } catch (error) {
    return { reason: `not valid JSON: ${(error as Error).message.slice(0, 160)}` };
  }
  if (record === null || typeof record !== 'object' || Array.isArray(record)) return { reason: 'not a JSON object' };
  const content = contentOf(record as Record<string, unknown>, field, options.field);
  if ('reason' in content) return content;
  // Escapes can spell half a surrogate pair, which has no UTF-8 form.
  if (source.includes('\\u') && /\p{Surrogate}/u.test(content.text))
    return { reason: 'the text holds a lone surrogate (\\ud800 to \\udfff)' };
  const metadata = metadataOf(record, field);
  return metadata ? { ...content, metadata } : content;
}

/** The text, or the conversation, of a record: the field that was asked for, else a usual one. */
function contentOf(
  record: Record<string, unknown>,
  field: TextField,
  asked: string | undefined,
): Content | { reason: string } {
  if (asked !== undefined) {
    const isConversation = (MESSAGE_FIELDS as readonly string[]).includes(asked) && Object.hasOwn(record, asked);
    return isConversation ? conversation(messagesOf(record[asked], asked)) : textOfRecord(record, field);
  }
  if (!field.names.some((name) => Object.hasOwn(record, name))) {
    const said = conversationOf(record);
    if (said) return conversation(said);
  }
  return textOfRecord(record, field);
}

function conversation(messages: Message[] | { reason: string }): Content | { reason: string } {
  if ('reason' in messages) return messages;
  const clean = messages.map(({ role, content }) => ({ role, content: normalizeText(content) }));
  return { text: clean.map(({ content }) => content).join('\n\n'), messages: clean };
}
