// Where in a record its text is, the same for JSON lines, CSV and Parquet: a field, a field inside a field (`data.text`), or a template of
// several ("{title}\n\n{body}", `{{` for a brace); and what else is kept of a record.
import { ConfigError } from '../base/errors.ts';

const DEFAULT_FIELDS = ['text', 'content'] as const;

/** Kept in a document's metadata where a record has them and they are small. */
export const METADATA_FIELDS = [
  ...(['id', 'url', 'title', 'date', 'timestamp', 'language', 'lang'] as const),
  ...(['author', 'license', 'source', 'path', 'quality', 'bitsPerByte', 'ifd'] as const),
] as const;
const MAX_METADATA_CHARS = 1000;

type Part = { literal: string } | { name: string };

/** The text of records, as `field` asks for it. */
export interface TextField {
  /** Fields to look at; without a template the first of them that is there. */
  names: readonly string[];
  template: readonly Part[] | undefined;
}

/** @throws ConfigError for a template whose braces do not match or that names no field */
export function parseField(field: string | undefined): TextField {
  if (field === undefined) return { names: DEFAULT_FIELDS, template: undefined };
  if (!/[{}]/.test(field)) return { names: [field], template: undefined };
  const template: Part[] = [];
  const names: string[] = [];
  let literal = '';
  for (const [token, name] of field.matchAll(/\{\{|\}\}|\{([^{}]+)\}|[^{}]+|[{}]/g)) {
    if (name !== undefined) {
      template.push({ literal }, { name: name.trim() });
      names.push(name.trim());
      literal = '';
    } else if (token === '{' || token === '}') {
      throw new ConfigError(
        `field ${JSON.stringify(field)}: its braces do not match. Expected names in braces, such as "{title}\\n\\n{body}"; write {{ for a brace.`,
      );
    } else literal += token === '{{' ? '{' : token === '}}' ? '}' : token;
  }
  template.push({ literal });
  if (names.length === 0)
    throw new ConfigError(
      `field ${JSON.stringify(field)}: a template without a field. Expected one such as "{title}".`,
    );
  return { names: [...new Set(names)], template };
}

/** The value of a name: of the field of that name, else, where it has dots, of the field inside a field. */
export function lookUp(record: object, name: string): unknown {
  if (Object.hasOwn(record, name)) return (record as Record<string, unknown>)[name];
  if (!name.includes('.')) return undefined;
  let value: unknown = record;
  for (const key of name.split('.')) {
    if (value === null || typeof value !== 'object' || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

/**
 * The text of a record. In a template null is empty, and numbers and truth values are written out; a field that is not there is a reason
 * to set the record aside, as is one with anything else than a string.
 */
export function textOfRecord(record: object, field: TextField): { text: string } | { reason: string } {
  if (!field.template) {
    for (const name of field.names) {
      const value = lookUp(record, name);
      if (value !== undefined) return typeof value === 'string' ? { text: value } : { reason: wrongType(name, value) };
    }
    return { reason: noField(field.names, record) };
  }
  let text = '';
  let hasValue = false;
  for (const part of field.template) {
    if ('literal' in part) {
      text += part.literal;
      continue;
    }
    const value = lookUp(record, part.name);
    if (value === undefined) return { reason: noField([part.name], record) };
    if (value === null || value === '') continue;
    if (typeof value === 'object') return { reason: wrongType(part.name, value) };
    text += String(value);
    hasValue = true;
  }
  // A template around nothing is an empty document.
  return { text: hasValue ? text : '' };
}

function noField(names: readonly string[], record: object): string {
  const known = Object.keys(record)
    .slice(0, 8)
    .map((key) => key.slice(0, 40));
  return `no field "${names.join('" or "')}" (fields: ${known.join(', ') || 'none'})`;
}

function wrongType(name: string, value: unknown): string {
  const found = value === null ? 'null' : Array.isArray(value) ? 'an array' : `a ${typeof value}`;
  return `field "${name}" is ${found}, expected a string`;
}

/** What else a record says that may be of use, itself or in a field `metadata`, as cleaned corpora have it; undefined where there is nothing. */
export function metadataOf(record: object, field: TextField): Record<string, unknown> | undefined {
  let metadata: Record<string, unknown> | undefined;
  for (const name of METADATA_FIELDS) {
    if (field.names.includes(name)) continue;
    const value = Object.hasOwn(record, name)
      ? (record as Record<string, unknown>)[name]
      : lookUp(record, `metadata.${name}`);
    const isSmall =
      typeof value === 'string'
        ? value !== '' && value.length <= MAX_METADATA_CHARS
        : typeof value === 'number' || typeof value === 'boolean';
    if (!isSmall) continue;
    metadata ??= {};
    metadata[name] = value;
  }
  return metadata;
}
