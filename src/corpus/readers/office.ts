// .pdf, .docx, .epub: a file is a document. PDF and DOCX are read in a worker thread, which is ended where a file takes too long or too much
// memory (../office/worker.ts); EPUB by our own bounded code.
import { Worker } from 'node:worker_threads';
import { entryFile } from '../../base/entry.ts';
import { formatBytes } from '../../base/units.ts';
import { DamagedInput, readWhole } from '../bytes.ts';
import { readEpub } from '../office/epub.ts';
import type { OfficeRequest, OfficeResult } from '../office/worker.ts';
import { normalizeText } from '../text.ts';
import type { InputFile, ReaderItem, ReaderOptions } from '../types.ts';

/** Unpacked text and mark-up of a book. */
const MAX_BOOK_BYTES = 128 << 20;
/** Pages come at some 100 a second: the largest manuals take half of it. */
const MAX_SECONDS = 120;
const MAX_HEAP_MB = 1024;

export async function* readOfficeFile(file: InputFile, options: ReaderOptions): AsyncGenerator<ReaderItem> {
  const bad = (reason: string): ReaderItem => ({ bad: { file: file.path, reason } });
  let bytes: Buffer | undefined;
  try {
    bytes = await readWhole(file, options.maxRecordBytes, options.onBytes);
  } catch (error) {
    if (!(error instanceof DamagedInput)) throw error;
    yield { bad: { file: file.path, offset: error.offset, reason: error.message, losesRest: true } };
    return;
  }
  if (!bytes) return yield bad(`a file of more than ${formatBytes(options.maxRecordBytes)}`);
  const maxBytes = Math.min(MAX_BOOK_BYTES, options.maxRecordBytes);
  const result =
    file.kind === 'epub' ? readBook(bytes, maxBytes) : await office.read(file.kind as 'pdf' | 'docx', bytes, maxBytes);
  if ('reason' in result) yield bad(result.reason);
  else if ('leftOut' in result) yield { leftOut: { file: file.path, reason: result.leftOut } };
  else {
    const { text, metadata } = result;
    yield { document: { id: file.path, text: normalizeText(text), source: file.path, metadata } };
  }
}

function readBook(bytes: Uint8Array, maxBytes: number): OfficeResult {
  try {
    return readEpub(bytes, maxBytes);
  } catch (error) {
    return { reason: `damaged EPUB (${(error as Error).message})` };
  }
}

/** The worker thread of this process: started when the first file comes, kept for the next, no reason to stay alive. */
class Office {
  private worker: Worker | undefined;
  private queue: Promise<unknown> = Promise.resolve();

  read(kind: OfficeRequest['kind'], bytes: Buffer, maxBytes: number): Promise<OfficeResult> {
    const result = this.queue.then(() => this.readNow({ kind, bytes: Uint8Array.from(bytes), maxBytes }));
    this.queue = result;
    return result;
  }

  private readNow(request: OfficeRequest): Promise<OfficeResult> {
    this.worker ??= new Worker(entryFile(import.meta.url, '../office/worker.ts'), {
      resourceLimits: { maxOldGenerationSizeMb: MAX_HEAP_MB },
      // What the packages have to say about a file is no message for the user.
      stdout: true,
      stderr: true,
    });
    const { worker } = this;
    worker.ref();
    return new Promise((resolve) => {
      const finish = (result: OfficeResult, isOver: boolean) => {
        clearTimeout(timer);
        worker.off('message', onMessage).off('error', onError).off('exit', onExit);
        if (isOver) {
          // Ended or about to end: the next file gets a new one. Its last words are nobody's.
          worker.on('error', () => {});
          this.worker = undefined;
          void worker.terminate();
        } else worker.unref();
        resolve(result);
      };
      const onMessage = (result: OfficeResult) => finish(result, false);
      const onError = ({ code, message }: NodeJS.ErrnoException) =>
        finish(
          {
            reason:
              code === 'ERR_WORKER_OUT_OF_MEMORY'
                ? `takes more than ${MAX_HEAP_MB} MB of memory to read: damaged, or made to`
                : `cannot be read (${message.slice(0, 160)})`,
          },
          true,
        );
      const onExit = () => finish({ reason: 'cannot be read: its reader ended' }, true);
      const timer = setTimeout(
        () => finish({ reason: `takes more than ${MAX_SECONDS} s to read: damaged, or made to` }, true),
        MAX_SECONDS * 1000,
      );
      worker.on('message', onMessage).on('error', onError).on('exit', onExit);
      worker.postMessage(request, [request.bytes.buffer as ArrayBuffer]);
    });
  }
}

const office = new Office();
