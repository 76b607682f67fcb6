// An EPUB book (W3C EPUB 3.3): a zip archive whose package document lists its XHTML pages in reading order. The pages become one text.
import { Parser } from 'htmlparser2';
import { decodePage } from '../html/decode.ts';
import { renderFragment } from '../html/extract.ts';
import { memberText, unpackMembers } from './archive.ts';
import type { OfficeResult } from './worker.ts';

const WANTED = /\.(x?html?|xml|opf)$/i;
const MAX_PAGE_BYTES = 16 << 20;
const MAX_DEPTH = 100;

/** @throws Error saying what is wrong with the archive */
export function readEpub(bytes: Uint8Array, maxBytes: number): OfficeResult {
  const members = unpackMembers(bytes, (name) => WANTED.test(name), maxBytes);
  const packagePath = rootFile(memberText(members, 'META-INF/container.xml') ?? '');
  const packageText = packagePath === undefined ? undefined : memberText(members, packagePath);
  if (packagePath === undefined || packageText === undefined) return { reason: 'not an EPUB: no package document' };
  if (
    members.has('META-INF/encryption.xml') &&
    /EncryptedData/.test(memberText(members, 'META-INF/encryption.xml') ?? '')
  )
    if (/\.x?html?["<]/i.test(memberText(members, 'META-INF/encryption.xml') ?? ''))
      return { reason: 'its pages are encrypted' };
  const { pages, metadata } = readPackage(packageText);
  if (pages.length === 0) return { reason: 'a book without pages' };
  const texts: string[] = [];
  for (const href of pages) {
    const name = resolveInside(packagePath, href);
    const page = name === undefined ? undefined : members.get(name);
    if (!page) return { reason: `its page ${JSON.stringify(href.slice(0, 100))} is not in the archive` };
    if (page.length > MAX_PAGE_BYTES) return { reason: `its page ${href.slice(0, 100)} is larger than 16 MiB` };
    const decoded = decodePage(page);
    if ('reason' in decoded) return { reason: `its page ${href.slice(0, 100)} ${decoded.reason}` };
    const text = renderFragment(decoded.text, true);
    if (typeof text !== 'string') return text;
    if (text !== '') texts.push(text);
  }
  return { text: texts.join('\n\n'), metadata };
}

function rootFile(container: string): string | undefined {
  let path: string | undefined;
  parseXml(container, (name, attributes) => {
    if (name === 'rootfile') path ??= attributes['full-path'];
  });
  return path === undefined ? undefined : resolveInside('', path);
}

/** Pages in reading order, without what the book says is no part of it, such as the table of contents. */
function readPackage(text: string): { pages: string[]; metadata: Record<string, string> } {
  const items = new Map<string, { href: string; isPage: boolean }>();
  const order: string[] = [];
  const metadata: Record<string, string> = {};
  const names: Record<string, string> = { title: 'title', creator: 'author', language: 'language', date: 'date' };
  parseXml(
    text,
    (name, { id, href, 'media-type': type, properties, idref, linear }) => {
      if (name === 'item' && id && href)
        items.set(id, { href, isPage: /html/.test(type ?? '') && !/\bnav\b/.test(properties ?? '') });
      else if (name === 'itemref' && idref && linear !== 'no') order.push(idref);
    },
    (name, content) => {
      const key = names[name];
      const value = content.replace(/\s+/g, ' ').trim().slice(0, 500);
      if (key && value !== '') metadata[key] ??= value;
    },
  );
  const pages = order.map((id) => items.get(id)).filter((item) => item?.isPage);
  return { pages: [...new Set(pages.map((item) => item?.href ?? ''))], metadata };
}

/** Names without their prefixes. */
function parseXml(
  xml: string,
  onElement: (name: string, attributes: Record<string, string>) => void,
  onText: (name: string, text: string) => void = () => {},
): void {
  let name = '';
  let depth = 0;
  const parser = new Parser(
    {
      onopentag(tag, attributes) {
        // The parser's list of open elements costs quadratic time on deep nesting, which no package document has.
        if (++depth > MAX_DEPTH) throw new Error('its package document is nested too deep');
        name = tag.slice(tag.indexOf(':') + 1);
        onElement(name, attributes);
      },
      ontext: (text) => onText(name, text),
      onclosetag() {
        depth--;
        name = '';
      },
    },
    { xmlMode: true, decodeEntities: true },
  );
  parser.write(xml);
  parser.end();
}

/** The member that `href` of `from` names; undefined where it leads out of the archive. */
function resolveInside(from: string, href: string): string | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(href.split('#', 1)[0]);
  } catch {
    return undefined;
  }
  const parts = decoded.startsWith('/') ? [] : from.split('/').slice(0, -1);
  for (const part of decoded.split('/')) {
    if (part === '..') {
      if (parts.pop() === undefined) return undefined;
    } else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}
