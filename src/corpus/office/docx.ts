// A Word document -> HTML by mammoth -> Markdown. mammoth unpacks whatever a member holds, so the archive is unpacked here, within bounds,
// and handed on stored, without its pictures.
import { zipSync } from 'fflate';
import mammoth from 'mammoth';
import { renderFragment } from '../html/extract.ts';
import { memberText, unpackMembers } from './archive.ts';
import type { OfficeRequest, OfficeResult } from './worker.ts';

const WANTED = /\.(xml|rels)$/i;
/** mammoth's tree takes some 20 times the XML. */
const MAX_XML_BYTES = 32 << 20;

export async function readDocx({ bytes, maxBytes }: OfficeRequest): Promise<OfficeResult> {
  const members = unpackMembers(bytes, (name) => WANTED.test(name), Math.min(maxBytes, MAX_XML_BYTES));
  const stored = zipSync(Object.fromEntries(members), { level: 0 });
  const noImage = mammoth.images.imgElement(async () => ({ src: '' }));
  const { value } = await mammoth.convertToHtml({ buffer: Buffer.from(stored) }, { convertImage: noImage });
  const text = renderFragment(value);
  if (typeof text !== 'string') return text;
  return { text, metadata: metadataOf(memberText(members, 'docProps/core.xml') ?? '') };
}

function metadataOf(core: string): Record<string, string> {
  const metadata: Record<string, string> = {};
  const keep = (name: string, element: string) => {
    const value = new RegExp(`<${element}\\b[^>]{0,200}>([^<]{1,500})</`).exec(core)?.[1]?.trim();
    if (value) metadata[name] = unescapeXml(value);
  };
  keep('title', 'dc:title');
  keep('author', 'dc:creator');
  keep('language', 'dc:language');
  keep('date', 'dcterms:created');
  return metadata;
}

export function unescapeXml(text: string): string {
  const names: Record<string, string> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
  return text.replace(/&(\w+);/g, (whole, name: string) => names[name] ?? whole);
}
