// In a worker thread, since the packages that read PDF and DOCX trust their input: it can be ended when it takes too long, and has a heap of
// its own. One file at a time.
import { parentPort } from 'node:worker_threads';
import { readDocx } from './docx.ts';
import { readPdf } from './pdf.ts';

export type OfficeKind = 'pdf' | 'docx';

export interface OfficeRequest {
  kind: OfficeKind;
  bytes: Uint8Array;
  /** Of what is unpacked. */
  maxBytes: number;
}

export type OfficeResult =
  | { text: string; metadata: Record<string, string> }
  | { reason: string }
  | { leftOut: string };

parentPort?.on('message', (request: OfficeRequest) => {
  const read = request.kind === 'pdf' ? readPdf : readDocx;
  read(request)
    .catch((error: unknown): OfficeResult => ({ reason: explain(request.kind, error) }))
    .then((result) => parentPort?.postMessage(result));
});

function explain(kind: OfficeKind, error: unknown): string {
  const { name, message } = error as Error;
  if (name === 'PasswordException') return 'is encrypted: remove its password first';
  return `damaged ${kind.toUpperCase()} (${String(message ?? error)
    .replace(/\s+/g, ' ')
    .slice(0, 160)})`;
}
