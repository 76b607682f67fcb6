// .html, .htm, .xhtml, plain or compressed: a page is a document, its main content as Markdown (../html/extract.ts).
import { formatBytes } from '../../base/units.ts';
import { DamagedInput, readWhole } from '../bytes.ts';
import { decodePage } from '../html/decode.ts';
import { extractPage } from '../html/extract.ts';
import { normalizeText } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

/** A tree takes about 20 times its page: a larger one is data, not a page. */
export const MAX_PAGE_BYTES = 16 << 20;

export async function* readHtmlFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  const maxBytes = Math.min(MAX_PAGE_BYTES, options.maxRecordBytes);
  const bad = (reason: string): ReaderItem => ({ bad: { file: file.path, reason } });
  let bytes: Buffer | undefined;
  try {
    bytes = await readWhole(file, maxBytes, options.onBytes);
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield { bad: { file: file.path, offset: error.offset, reason: error.message, losesRest: true } };
    return;
  }
  if (!bytes) return yield bad(`a page of more than ${formatBytes(maxBytes)}`);
  const page = decodePage(bytes);
  if ('reason' in page) return yield bad(page.reason);
  const content = extractPage(page.text, isXhtml(file.path, page.text));
  if ('reason' in content) return yield bad(content.reason);
  const { text, metadata } = content;
  yield { document: { id: file.path, text: normalizeText(text), source: file.path, metadata } };
}

export function isXhtml(name: string, text: string): boolean {
  return /\.xhtml(\.\w+)?$/i.test(name) || text.startsWith('<?xml');
}
