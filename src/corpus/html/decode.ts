// A page's bytes -> text, by the HTML standard's order: byte order mark, what the server said, what the page says (meta, XML declaration),
// then UTF-8 where the bytes are that, else Windows-1252.
import { isUtf8 } from 'node:buffer';

/** Where a page's own words about its encoding stand at the latest (the standard has 1024; many pages do not keep to it). */
const HEAD_BYTES = 4096;
const DECLARED =
  /<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)|<meta\b[^>]{0,1000}?charset\s*=\s*["']?\s*([\w.:-]+)/i;
/** Broken bytes become U+FFFD, as in browsers, up to this share of the text: more is another encoding than the one named. */
const MAX_REPLACED_SHARE = 0.01;

/** Windows-1252 from 0x80 on, which Node (20, 22) decodes as ISO-8859-1. */
const C1 =
  '\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f' +
  '\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178';

/** @param charset from the server's Content-Type */
export function decodePage(bytes: Uint8Array, charset?: string): { text: string } | { reason: string } {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, HEAD_BYTES));
  const utf16 =
    head[0] === 0xff && head[1] === 0xfe ? 'utf-16le' : head[0] === 0xfe && head[1] === 0xff ? 'utf-16be' : undefined;
  const isMarkedUtf8 = head[0] === 0xef && head[1] === 0xbb && head[2] === 0xbf;
  const declared = utf16 ?? (isMarkedUtf8 ? 'utf-8' : (known(charset) ?? declaredIn(head)));
  if ((declared === undefined || declared === 'utf-8') && isUtf8(bytes))
    return {
      text: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        .toString('utf8')
        .replace(/^\ufeff/, ''),
    };
  const encoding = declared ?? 'windows-1252';
  const decoded = new TextDecoder(encoding).decode(bytes);
  const text =
    encoding === 'windows-1252' ? decoded.replace(/[\x80-\x9f]/g, (c) => C1[c.charCodeAt(0) - 0x80]) : decoded;
  let numReplaced = 0;
  for (let at = text.indexOf('\ufffd'); at >= 0; at = text.indexOf('\ufffd', at + 1)) numReplaced++;
  if (numReplaced > MAX_REPLACED_SHARE * text.length)
    return {
      reason: `is not in the encoding ${encoding} that it claims: ${numReplaced} of ${text.length} characters are broken`,
    };
  return { text };
}

function declaredIn(head: Buffer): string | undefined {
  const match = DECLARED.exec(head.toString('latin1'));
  const encoding = known(match?.[1] ?? match?.[2]);
  // A declaration that can be read byte by byte is not in UTF-16, whatever it says.
  return encoding?.startsWith('utf-16') ? 'utf-8' : encoding;
}

function known(label: string | undefined): string | undefined {
  if (!label) return undefined;
  try {
    return new TextDecoder(label.trim()).encoding;
  } catch {
    return undefined;
  }
}
