// .warc, plain or compressed: archives of the web (ISO 28500). Documents are the responses with a status of 200 that hold a page or a text,
// and the records of extracted text (type "conversion", as in Common Crawl's .wet files). Parsed by our own code: the packages that we know
// hold a whole record whatever size it claims, trust its lengths, and stop at the first damaged one; here a record beyond the limit is
// passed over in constant memory, and after a damaged one reading goes on at the next that begins with "WARC/1.".
import * as zlib from 'node:zlib';
import { formatBytes } from '../../base/units.ts';
import { DamagedInput, readBytes } from '../bytes.ts';
import { decodePage } from '../html/decode.ts';
import { extractPage } from '../html/extract.ts';
import { normalizeText } from '../text.ts';
import type { BadRecord, InputFile, ReaderItem, ReaderOptions } from '../types.ts';
import { isXhtml, MAX_PAGE_BYTES } from './html.ts';

const MAX_HEADER_BYTES = 64 << 10;
const RECORD_START = Buffer.from('\r\n\r\nWARC/1.');
const READ_TYPES = new Set(['response', 'conversion', 'resource']);

type Headers = ReadonlyMap<string, string>;

export async function* readWarcFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  const maxBytes = Math.min(MAX_PAGE_BYTES, options.maxRecordBytes);
  const input = new WarcInput(readBytes(file, options.onBytes));
  const bad = (row: number, offset: number, reason: string, losesRest?: true): { bad: BadRecord } => ({
    bad: { file: file.path, row, offset, reason, ...(losesRest ? { losesRest } : {}) },
  });
  let row = 0;
  let offset = 0;
  try {
    for (; ; row++) {
      await input.skipLineEnds();
      offset = input.offset;
      if (await input.isAtEnd()) return;
      const head = await input.header();
      const headers = head === undefined ? undefined : parseHeaders(head);
      const length = Number(headers?.get('content-length') ?? Number.NaN);
      if (!head?.startsWith('WARC/1.') || !headers || !Number.isSafeInteger(length) || length < 0) {
        const found = await input.skipToRecord();
        if (head === undefined && !found && input.offset - offset < MAX_HEADER_BYTES)
          return yield bad(row, offset, 'the archive ends inside a record', true);
        yield bad(row, offset, 'not a WARC record: expected "WARC/1.", headers and their Content-Length');
        continue;
      }
      input.skipHeader();
      const type = headers.get('warc-type') ?? '';
      if (!READ_TYPES.has(type) || length > maxBytes) {
        if (!(await input.skip(length))) return yield bad(row, offset, 'the archive ends inside a record', true);
        if (READ_TYPES.has(type))
          yield bad(row, offset, `a record of ${formatBytes(length)}, at most ${formatBytes(maxBytes)} accepted`);
        continue;
      }
      const body = await input.take(length);
      if (!body) return yield bad(row, offset, 'the archive ends inside a record', true);
      const page = readRecord(type, headers, body, maxBytes);
      if ('leftOut' in page) yield { leftOut: { file: file.path, reason: page.leftOut } };
      else if ('reason' in page) yield bad(row, offset, page.reason);
      else {
        const { text, metadata } = page;
        yield { document: { id: `${file.path}#${row}`, text, source: file.path, metadata } };
      }
    }
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield bad(row, error.offset, error.message, true);
  }
}

type RecordResult = { text: string; metadata: Record<string, string> } | { leftOut: string } | { reason: string };

function readRecord(type: string, headers: Headers, body: Buffer, maxBytes: number): RecordResult {
  const about: Record<string, string> = {};
  const url = headers.get('warc-target-uri')?.replace(/^<|>$/g, '');
  if (url) about.url = url.slice(0, 2000);
  const date = headers.get('warc-date');
  if (date) about.date = date;
  let contentType = headers.get('content-type') ?? '';
  let payload: Buffer | { reason: string } = body;
  if (type === 'response') {
    if (!/^application\/http/i.test(contentType)) return { leftOut: 'responses of other protocols' };
    const response = parseResponse(body);
    if (!response) return { reason: 'not an HTTP response' };
    if (response.status !== 200) return { leftOut: `responses with status ${response.status}` };
    contentType = response.headers.get('content-type') ?? '';
    if (!kindOf(contentType, response.payload)) return { leftOut: 'responses without text' };
    payload = unpack(response.payload, response.headers, maxBytes);
  }
  if (!Buffer.isBuffer(payload)) return payload;
  const kind = kindOf(contentType, payload);
  if (!kind) return { leftOut: 'responses without text' };
  const decoded = decodePage(payload, /charset\s*=\s*["']?([\w.:-]+)/i.exec(contentType)?.[1]);
  if ('reason' in decoded) return decoded;
  if (kind === 'text') {
    const language = headers.get('warc-identified-content-language');
    return { text: normalizeText(decoded.text), metadata: language ? { ...about, language } : about };
  }
  const page = extractPage(decoded.text, isXhtml(url ?? '', decoded.text));
  return 'reason' in page ? page : { text: normalizeText(page.text), metadata: { ...page.metadata, ...about } };
}

function kindOf(contentType: string, payload: Buffer): 'html' | 'text' | undefined {
  const mime = contentType.split(';', 1)[0].trim().toLowerCase();
  if (mime === 'text/html' || mime === 'application/xhtml+xml') return 'html';
  if (mime === 'text/plain' || mime === 'text/markdown') return 'text';
  return mime === '' && /^\s*<(!doctype\s+html|html)/i.test(payload.toString('latin1', 0, 200)) ? 'html' : undefined;
}

/** Names in lower case; the first line is left to the caller. A line that begins with white space continues the one before. */
function parseHeaders(head: string): Headers {
  const headers = new Map<string, string>();
  let last = '';
  for (const line of head.split(/\r?\n/).slice(1)) {
    const colon = line.indexOf(':');
    if (/^[ \t]/.test(line) && last) headers.set(last, `${headers.get(last)} ${line.trim()}`);
    else if (colon > 0) {
      last = line.slice(0, colon).trim().toLowerCase();
      if (!headers.has(last)) headers.set(last, line.slice(colon + 1).trim());
    }
  }
  return headers;
}

function parseResponse(body: Buffer): { status: number; headers: Headers; payload: Buffer } | undefined {
  const separator = /\r?\n\r?\n/.exec(body.toString('latin1', 0, MAX_HEADER_BYTES));
  const headEnd = separator?.index ?? Math.min(body.length, MAX_HEADER_BYTES);
  const head = body.toString('latin1', 0, headEnd);
  const status = Number(/^HTTP\/[\d.]+ +(\d{3})/.exec(head)?.[1] ?? Number.NaN);
  if (Number.isNaN(status)) return undefined;
  return { status, headers: parseHeaders(head), payload: body.subarray(headEnd + (separator?.[0].length ?? 0)) };
}

/** Undoes what the transfer did to a payload. Crawlers that undid it themselves often leave the headers: then the bytes decide. */
function unpack(payload: Buffer, headers: Headers, maxBytes: number): Buffer | { reason: string } {
  let bytes = payload;
  if (/chunked/i.test(headers.get('transfer-encoding') ?? '')) bytes = unchunk(bytes) ?? bytes;
  const encoding = (headers.get('content-encoding') ?? '').toLowerCase();
  const options = { maxOutputLength: maxBytes };
  try {
    if (/gzip/.test(encoding) && bytes[0] === 0x1f && bytes[1] === 0x8b) return zlib.gunzipSync(bytes, options);
    if (/deflate/.test(encoding) && (bytes[0] & 0x0f) === 8) return zlib.inflateSync(bytes, options);
    if (/\bbr\b/.test(encoding) && bytes[0] !== 0x3c) return zlib.brotliDecompressSync(bytes, options);
    return bytes;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ERR_BUFFER_TOO_LARGE')
      return { reason: `a page of more than ${formatBytes(maxBytes)} when unpacked` };
    return { reason: `damaged ${encoding.slice(0, 20)} data in a response (${message})` };
  }
}

/** RFC 9112, 7.1; undefined where the bytes are not in chunks. */
function unchunk(bytes: Buffer): Buffer | undefined {
  const chunks: Buffer[] = [];
  let position = 0;
  while (position < bytes.length) {
    const lineEnd = bytes.indexOf('\r\n', position);
    if (lineEnd < 0 || lineEnd - position > 1000) return undefined;
    const digits = /^\s*([0-9a-f]{1,8})\s*(;|$)/i.exec(bytes.toString('latin1', position, lineEnd))?.[1];
    if (digits === undefined) return undefined;
    const length = Number.parseInt(digits, 16);
    if (length === 0) break;
    chunks.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + length));
    position = lineEnd + 2 + length + 2;
  }
  return Buffer.concat(chunks);
}

/** A stream of bytes from which pieces of known and unknown length are taken; holds what was asked for, at most. */
class WarcInput {
  private readonly source: AsyncIterator<Uint8Array>;
  private buffer: Buffer = Buffer.alloc(0);
  private isOver = false;
  private headerBytes = 0;
  /** Of the buffer's first byte in the decompressed file. */
  offset = 0;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.source = source[Symbol.asyncIterator]();
  }

  async isAtEnd(): Promise<boolean> {
    return !(await this.fill(1));
  }

  async skipLineEnds(): Promise<void> {
    while (await this.fill(1)) {
      let n = 0;
      while (n < this.buffer.length && (this.buffer[n] === 13 || this.buffer[n] === 10)) n++;
      this.drop(n);
      if (this.buffer.length > 0) return;
    }
  }

  /** Up to the first blank line, without it; undefined where there is none near. Stays in the buffer. */
  async header(): Promise<string | undefined> {
    let searched = 0;
    for (;;) {
      const end = this.buffer.indexOf('\r\n\r\n', Math.max(0, searched - 3));
      if (end >= 0 && end <= MAX_HEADER_BYTES) {
        this.headerBytes = end + 4;
        return this.buffer.toString('utf8', 0, end);
      }
      searched = this.buffer.length;
      if (end >= 0 || searched > MAX_HEADER_BYTES || !(await this.fill(searched + 1))) return undefined;
    }
  }

  skipHeader(): void {
    this.drop(this.headerBytes);
  }

  /** undefined where the input ends before. */
  async take(length: number): Promise<Buffer | undefined> {
    if (!(await this.fill(length))) return undefined;
    const bytes = this.buffer.subarray(0, length);
    this.drop(length);
    return bytes;
  }

  async skip(length: number): Promise<boolean> {
    let left = length;
    while (left > 0) {
      if (!(await this.fill(1))) return false;
      const n = Math.min(left, this.buffer.length);
      this.drop(n);
      left -= n;
    }
    return true;
  }

  /** To the next place that looks like a record's beginning; false at the end. */
  async skipToRecord(): Promise<boolean> {
    for (;;) {
      const at = this.buffer.indexOf(RECORD_START);
      if (at >= 0) {
        this.drop(at + 4);
        return true;
      }
      this.drop(Math.max(0, this.buffer.length - RECORD_START.length));
      if (!(await this.fill(this.buffer.length + 1))) {
        this.drop(this.buffer.length);
        return false;
      }
    }
  }

  private drop(n: number): void {
    this.buffer = this.buffer.subarray(n);
    this.offset += n;
  }

  /** Until the buffer holds `length` bytes; false where the input ends before. */
  private async fill(length: number): Promise<boolean> {
    if (this.buffer.length >= length) return true;
    const pieces: Uint8Array[] = [this.buffer];
    let total = this.buffer.length;
    try {
      while (total < length && !this.isOver) {
        const { value, done } = await this.source.next();
        if (done) this.isOver = true;
        else {
          pieces.push(value);
          total += value.length;
        }
      }
    } finally {
      this.buffer = pieces.length === 1 ? this.buffer : Buffer.concat(pieces, total);
    }
    return total >= length;
  }
}
