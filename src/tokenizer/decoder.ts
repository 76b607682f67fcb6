// The decoders of tokenizer.json that work on token spellings (SentencePiece-style vocabularies). Byte-level vocabularies do not come
// here: they are decoded as bytes. Where bytes are not valid UTF-8, the replacement character stands, as in any UTF-8 decoder.
import { type Component, flatten, patternSource, UnsupportedPipeline } from './format.ts';
import { compilePattern } from './pattern.ts';
import { BYTE_OF_CHAR } from './unicode.ts';

/** Spellings in, spellings out; the last step's are joined. */
export type Decoder = (tokens: string[]) => string[];

export function isByteLevel(component: Component | null): boolean {
  const steps = flatten(component, 'decoders');
  return steps.length === 1 && steps[0].type === 'ByteLevel';
}

/** Throws UnsupportedPipeline. No decoder at all joins with spaces, as Hugging Face does. */
export function compileDecoder(component: Component | null): Decoder {
  const steps = flatten(component, 'decoders').map(compileStep);
  if (steps.length === 0) return (tokens) => [tokens.join(' ')];
  return (tokens) => steps.reduce((current, step) => step(current), tokens);
}

function compileStep(step: Component): Decoder {
  switch (step.type) {
    case 'ByteLevel':
      return (tokens) => [decodeBytes(Uint8Array.from(tokens.flatMap((token) => [...byteLevelBytes(token)])))];
    case 'ByteFallback':
      return joinByteTokens;
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'Replace': {
      const pattern = compilePattern(patternSource(step.pattern), 'g');
      const content = String(step.content);
      return (tokens) => tokens.map((token) => token.replace(pattern, () => content));
    }
    case 'Strip': {
      const [content, start, stop] = [String(step.content), Number(step.start), Number(step.stop)];
      return (tokens) => tokens.map((token) => strip(token, content, start, stop));
    }
    case 'Metaspace': {
      const mark = String(step.replacement ?? '\u2581');
      const dropsFirst = step.prepend_scheme !== 'never' && step.add_prefix_space !== false;
      return (tokens) => tokens.map((token, i) => token.replaceAll(mark, i === 0 && dropsFirst ? '' : ' '));
    }
    default:
      throw new UnsupportedPipeline(`the decoder ${step.type}`);
  }
}

function strip(token: string, content: string, start: number, stop: number): string {
  let [from, to] = [0, token.length];
  for (let n = 0; n < start && from < to && token.startsWith(content, from); n++) from += content.length;
  for (let n = 0; n < stop && to > from && token.slice(from, to).endsWith(content); n++) to -= content.length;
  return token.slice(from, to);
}

function joinByteTokens(tokens: string[]): string[] {
  const out: string[] = [];
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) out.push(decodeBytes(Uint8Array.from(bytes)));
    bytes = [];
  };
  for (const token of tokens) {
    if (/^<0x[0-9A-Fa-f]{2}>$/.test(token)) bytes.push(Number.parseInt(token.slice(3, 5), 16));
    else {
      flush();
      out.push(token);
    }
  }
  flush();
  return out;
}

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

/** Invalid sequences become U+FFFD; a byte order mark stays. */
export function decodeBytes(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

/** The bytes of a token spelled in the byte alphabet; a token with any other character stands for itself. */
export function byteLevelBytes(token: string): Uint8Array {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const code = token.charCodeAt(i);
    const byte = code < BYTE_OF_CHAR.length ? BYTE_OF_CHAR[code] : -1;
    if (byte < 0) return encoder.encode(token);
    bytes[i] = byte;
  }
  return bytes;
}
