// HTML -> a flat list of elements and texts in document order. htmlparser2's tokenizer finds tags, attributes and entities; the nesting is
// made here and not by its Parser, whose list of open elements costs quadratic time on 100 000 levels. Nothing is recursive: an element
// knows where its subtree ends. Scripts, styles and comments are left out.
import { Tokenizer } from 'htmlparser2';

export interface HtmlNode {
  /** Lower case; empty for text. */
  tag: string;
  /** Of a text, with entities decoded. */
  text: string;
  /** Index in the list; -1 for the first level. */
  parent: number;
  /** Index after the last node of the subtree. */
  end: number;
  /** Those of ATTRIBUTES that are there. */
  attributes: Readonly<Record<string, string>> | undefined;
}

/** As browsers do: deeper elements are put into the one at this depth. */
const MAX_DEPTH = 512;
/** Elements and texts, some 100 bytes each: pages that people read have a tenth of it. */
export const MAX_NODES = 2_000_000;
const MAX_ATTRIBUTE_CHARS = 2000;
const ATTRIBUTES = new Set(
  'class id role lang xml:lang hidden aria-hidden style href name property content itemprop rel datetime open'.split(
    ' ',
  ),
);
const VOID = new Set('area base basefont br col embed frame hr img input link meta param source track wbr'.split(' '));
/** Their texts are no text. */
const UNREAD = new Set(
  'script style noscript template iframe object svg canvas audio video map select textarea noframes noembed'.split(' '),
);
const BLOCKS = new Set(
  (
    'address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 ' +
    'h5 h6 header hgroup hr html li main menu nav ol p pre search section summary table tbody td tfoot th thead tr ul'
  ).split(' '),
);
/** Opening `tag` closes the nearest open one of `closes`, unless one of `within` stands between. */
const IMPLIED: Record<string, { closes: string[]; within: string[] }> = {
  li: { closes: ['li'], within: ['ul', 'ol', 'menu', 'dir', 'table'] },
  dt: { closes: ['dt', 'dd'], within: ['dl', 'table'] },
  dd: { closes: ['dt', 'dd'], within: ['dl', 'table'] },
  td: { closes: ['td', 'th'], within: ['tr', 'table'] },
  th: { closes: ['td', 'th'], within: ['tr', 'table'] },
  tr: { closes: ['tr'], within: ['table'] },
  tbody: { closes: ['thead', 'tbody', 'tfoot', 'caption', 'colgroup'], within: ['table'] },
  thead: { closes: ['thead', 'tbody', 'tfoot', 'caption', 'colgroup'], within: ['table'] },
  tfoot: { closes: ['thead', 'tbody', 'tfoot', 'caption', 'colgroup'], within: ['table'] },
  a: { closes: ['a'], within: ['td', 'th', 'table'] },
};
const CELLS = new Set(['td', 'th', 'table', 'caption']);
const TABLE_PARTS = new Set(['table', 'tr', 'td', 'th', 'tbody', 'thead', 'tfoot', 'body', 'html']);

export function isBlock(tag: string): boolean {
  return BLOCKS.has(tag);
}

/**
 * @param isXml `<div/>` is closed, as in XHTML
 * @returns undefined for more than MAX_NODES
 */
export function parseHtml(html: string, isXml: boolean): HtmlNode[] | undefined {
  const builder = new TreeBuilder(html, isXml);
  const tokenizer = new Tokenizer({ xmlMode: false, decodeEntities: true, recognizeSelfClosing: isXml }, builder);
  tokenizer.write(html);
  tokenizer.end();
  return builder.finish();
}

class TreeBuilder {
  private readonly nodes: HtmlNode[] = [];
  private readonly html: string;
  private readonly isXml: boolean;
  /** Indices of open elements. */
  private readonly open: number[] = [];
  /** How many of each tag are open: an end tag without a beginning costs no search. */
  private readonly numOpen = new Map<string, number>();
  /** Open elements beyond MAX_DEPTH. */
  private numTooDeep = 0;
  private tag = '';
  private attributes: Record<string, string> | undefined;
  private attribute: string | undefined;
  private value = '';
  /** Inside an element of UNREAD: its index. */
  private unread = -1;

  constructor(html: string, isXml: boolean) {
    this.html = html;
    this.isXml = isXml;
  }

  finish(): HtmlNode[] | undefined {
    if (this.nodes.length >= MAX_NODES) return undefined;
    while (this.open.length > 0) this.pop();
    return this.nodes;
  }

  ontext(start: number, end: number): void {
    if (this.unread < 0) this.addText(this.html.slice(start, end));
  }

  ontextentity(codepoint: number): void {
    if (this.unread < 0) this.addText(String.fromCodePoint(codepoint));
  }

  onopentagname(start: number, end: number): void {
    this.tag = this.html.slice(start, end).toLowerCase();
    this.attributes = undefined;
  }

  onattribname(start: number, end: number): void {
    const name = end - start > 12 ? '' : this.html.slice(start, end).toLowerCase();
    this.attribute = ATTRIBUTES.has(name) ? name : undefined;
    this.value = '';
  }

  onattribdata(start: number, end: number): void {
    if (this.attribute !== undefined && this.value.length < MAX_ATTRIBUTE_CHARS)
      this.value += this.html.slice(start, Math.min(end, start + MAX_ATTRIBUTE_CHARS));
  }

  onattribentity(codepoint: number): void {
    if (this.attribute !== undefined && this.value.length < MAX_ATTRIBUTE_CHARS)
      this.value += String.fromCodePoint(codepoint);
  }

  onattribend(): void {
    if (this.attribute === undefined) return;
    this.attributes ??= {};
    this.attributes[this.attribute] ??= this.value;
    this.attribute = undefined;
  }

  onopentagend(): void {
    this.openElement(false);
  }

  onselfclosingtag(): void {
    this.openElement(this.isXml);
  }

  onclosetag(start: number, end: number): void {
    const tag = this.html.slice(start, end).toLowerCase();
    if (this.unread >= 0) {
      // Only its own end tag ends what is not read; what is never closed ends with its parent's.
      if (tag === this.nodes[this.unread].tag) this.popTo(this.open.lastIndexOf(this.unread));
      else if (tag === 'body' || tag === 'html') this.popTo(0);
      return;
    }
    if (tag === 'br') {
      this.addElement('br', undefined, false);
      return;
    }
    if (this.numTooDeep > 0) {
      this.numTooDeep--;
      return;
    }
    if (!this.numOpen.get(tag)) return;
    const crossesCells = TABLE_PARTS.has(tag);
    for (let i = this.open.length - 1; i >= 0; i--) {
      const { tag: candidate } = this.nodes[this.open[i]];
      if (candidate === tag) this.popTo(i);
      if (candidate === tag || (!crossesCells && CELLS.has(candidate))) return;
    }
  }

  oncdata(start: number, end: number): void {
    if (this.isXml) this.ontext(start, end);
  }
  oncomment(): void {}
  ondeclaration(): void {}
  onprocessinginstruction(): void {}
  onend(): void {}

  private openElement(isClosed: boolean): void {
    const { tag, attributes } = this;
    if (this.unread >= 0) return;
    this.closeImplied(tag);
    this.addElement(tag, attributes, !isClosed && !VOID.has(tag));
  }

  private closeImplied(tag: string): void {
    const rule = IMPLIED[tag];
    if (rule)
      for (let i = this.open.length - 1; i >= 0; i--) {
        const { tag: candidate } = this.nodes[this.open[i]];
        if (rule.closes.includes(candidate)) {
          this.popTo(i);
          break;
        }
        if (rule.within.includes(candidate)) break;
      }
    if (!BLOCKS.has(tag)) return;
    for (let i = this.open.length - 1; i >= 0; i--) {
      const { tag: candidate } = this.nodes[this.open[i]];
      if (candidate === 'p') this.popTo(i);
      if (BLOCKS.has(candidate)) return;
    }
  }

  private addText(text: string): void {
    const { nodes, open } = this;
    const parent = open.length > 0 ? open[open.length - 1] : -1;
    const last = nodes[nodes.length - 1];
    // Texts around an entity are one.
    if (last?.tag === '' && last.parent === parent && last.end === nodes.length) last.text += text;
    else if (nodes.length < MAX_NODES)
      nodes.push({ tag: '', text, parent, end: nodes.length + 1, attributes: undefined });
  }

  private addElement(tag: string, attributes: Record<string, string> | undefined, isOpen: boolean): void {
    const { nodes, open } = this;
    const index = nodes.length;
    if (index >= MAX_NODES) return;
    const parent = open.length > 0 ? open[open.length - 1] : -1;
    nodes.push({ tag, text: '', parent, end: index + 1, attributes });
    if (!isOpen) return;
    if (UNREAD.has(tag)) this.unread = index;
    if (open.length < MAX_DEPTH) {
      open.push(index);
      this.numOpen.set(tag, (this.numOpen.get(tag) ?? 0) + 1);
    } else if (this.unread === index) this.unread = -1;
    else this.numTooDeep++;
  }

  private popTo(position: number): void {
    while (this.open.length > position) this.pop();
  }

  private pop(): void {
    const index = this.open.pop() as number;
    const node = this.nodes[index];
    node.end = this.nodes.length;
    this.numOpen.set(node.tag, (this.numOpen.get(node.tag) ?? 1) - 1);
    if (index === this.unread) this.unread = -1;
  }
}
