// .jsonl and .ndjson, plain or compressed: a line is a record, its text in one field. Blank lines are no records.
import { isUtf8 } from 'node:buffer';
import { formatBytes } from '../../base/units.ts';
import { DamagedInput, readBytes } from '../bytes.ts';
import { conversationOf, MESSAGE_FIELDS, type Message, messagesOf } from '../conversation.ts';
import { type Line, splitLines } from '../lines.ts';
import { firstInvalidByte, normalizeText, withoutCarriageReturn } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

const DEFAULT_FIELDS = ['text', 'content'];

export async function* readJsonlFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  try {
    for await (const line of splitLines(
      readBytes(file.path, file.compression, options.onBytes),
      options.maxRecordBytes,
    )) {
      const result = parseLine(line, options);
      if (result === undefined) continue;
      const place = { file: file.path, line: line.number, offset: line.offset };
      if ('reason' in result) yield { bad: { ...place, reason: result.reason } };
      else {
        const { messages } = result;
        const document = { id: `${file.path}:${line.number}`, text: normalizeText(result.text), source: file.path };
        yield { document: messages ? { ...document, messages } : document };
      }
    }
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield { bad: { file: file.path, offset: error.offset, reason: error.message, losesRest: true } };
  }
}

interface Content {
  text: string;
  messages?: Message[];
}

function parseLine(line: Line, options: ReaderOptions): Content | { reason: string } | undefined {
  if (!line.bytes)
    return {
      reason: `a line of ${formatBytes(line.lengthBytes)}, at most ${formatBytes(options.maxRecordBytes)} accepted`,
    };
  const bytes = withoutCarriageReturn(line.bytes);
  if (!isUtf8(bytes)) return { reason: `not valid UTF-8 (byte ${firstInvalidByte(bytes)} of the line)` };
  let source = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
  if (line.number === 1 && source.charCodeAt(0) === 0xfeff) source = source.slice(1);
  if (source.trim() === '') return undefined;
  let record: unknown;
  try {
    record = JSON.parse(source);
  } catch (error) {
    return { reason: `not valid JSON: ${(error as Error).message.slice(0, 160)}` };
  }
  if (record === null || typeof record !== 'object' || Array.isArray(record)) return { reason: 'not a JSON object' };
  const content = contentOf(record as Record<string, unknown>, options.field);
  if ('reason' in content) return content;
  // Escapes can spell half a surrogate pair, which has no UTF-8 form.
  if (source.includes('\\u') && /\p{Surrogate}/u.test(content.text))
    return { reason: 'the text holds a lone surrogate (\\ud800 to \\udfff)' };
  return content;
}

/** The text, or the conversation, of a record: the field that was asked for, else a usual one. */
function contentOf(record: Record<string, unknown>, field: string | undefined): Content | { reason: string } {
  const names = field === undefined ? DEFAULT_FIELDS : [field];
  const name = names.find((candidate) => Object.hasOwn(record, candidate));
  const isConversation = field !== undefined && (MESSAGE_FIELDS as readonly string[]).includes(field);
  if (isConversation && name) return conversation(messagesOf(record[name], name));
  const said = name === undefined && field === undefined ? conversationOf(record) : undefined;
  if (said) return conversation(said);
  if (name === undefined) {
    const known = Object.keys(record)
      .slice(0, 8)
      .map((key) => key.slice(0, 40));
    return { reason: `no field "${names.join('" or "')}" (fields: ${known.join(', ') || 'none'})` };
  }
  const value = record[name];
  if (typeof value === 'string') return { text: value };
  return {
    reason: `field "${name}" is ${value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`}, expected a string`,
  };
}

function conversation(messages: Message[] | { reason: string }): Content | { reason: string } {
  if ('reason' in messages) return messages;
  const clean = messages.map(({ role, content }) => ({ role, content: normalizeText(content) }));
  return { text: clean.map(({ content }) => content).join('\n\n'), messages: clean };
}
