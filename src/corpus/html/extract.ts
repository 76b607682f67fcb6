// HTML -> the text of its main content, as Markdown: headings, paragraphs, lists, code blocks, tables. Boilerplate is left out in three
// passes, in the manner of Readability (element names, classes and ids), trafilatura (Barbaresi 2021: the element that holds the content,
// where the page says so, else the smallest with nearly all of the prose) and jusText (Pomikálek 2011: length and link density of blocks,
// judged by their neighbours). Rules and numbers are our own, set on documentation and labelled news pages (docs/LOG.md).
import { type HtmlNode, isBlock, MAX_NODES, parseHtml } from './tree.ts';

export interface ExtractedPage {
  text: string;
  metadata: Record<string, string>;
}

const DROPPED_TAGS = new Set(
  'nav dialog button menu input datalist label legend progress meter footer search'.split(' '),
);
const DROPPED_ROLES = new Set(
  (
    'navigation banner contentinfo search complementary menu menubar menuitem toolbar tablist tooltip dialog alertdialog ' +
    'button directory doc-backlink'
  ).split(' '),
);
/** Words of classes and ids, by blocks. */
const DROPPED_BLOCK = wordsOf(
  'nav|navbar|navigation|navlinks?|navheader|navfooter|navbox|menu|menus|menubar|submenu|breadcrumbs?|sidebar|sphinxsidebar\\w*|toc|tableofcontents|footer|' +
    'cookies?|consent|gdpr|cmp|share|sharing|sharebar|social|related|recommend(?:ed|ations?)|promos?|advert(?:s|ising|isements?)?|ads?|adsense|' +
    'sponsor(?:ed)?|newsletter|subscri(?:be|ption)|signup|login|popup|popover|modal|overlay|skip|skiplinks?|pagination|pager|' +
    'comments?|commentlist|respond|disqus|outbrain|taboola|masthead|catlinks|printfooter|noprint|toolbar|searchbox|searchform|dropdown|copyright|' +
    'disclaimer|prev|next|prevnext|widgets?|byline|authors?|tags?|trending|mostread|teasers?|timestamp|credits?|polls?|ratings?|captions?|figcaption',
);
/** The same for inline elements, and inside code. */
const DROPPED_INLINE = wordsOf(
  'headerlink|header-anchor|anchor-link|anchorjs-link|permalink|linenos?|lineno|linenumbers?|line-numbers?|gutter|editsection|' +
    'sr-only|visually-hidden|visuallyhidden|screen-reader-text|is-hidden|copybtn|copybutton|copy-button|footnote-back(?:ref|reference)?',
);
/** Asides that belong to the text. */
const ADMONITION =
  /(^|[ _-])(note|tip|hint|warning|caution|danger|important|admonition|sidenote|footnotes?|example)($|[ _-])/;
const HIDDEN_STYLE = /display\s*:\s*none|visibility\s*:\s*hidden/i;
const CODE_LANGUAGE = /(?:^|[ _-])(?:language|lang|highlight|brush:?|sourceCode)[-_ ]+([A-Za-z][\w+#-]*)/;
/** Kinds of code that say nothing. */
const NO_LANGUAGE = new Set([
  'default',
  'text',
  'none',
  'plain',
  'plaintext',
  'notranslate',
  'source',
  'console-output',
]);
/** Share of the page's prose above which a part is not dropped: it is the page. Less where the name only holds the word. */
const MAX_DROPPED_SHARE = 0.5;
const MAX_PARTLY_NAMED_SHARE = 0.2;
/** Text directly in a block that is prose: longer than what menus and captions say. */
const PROSE_CHARS = 60;
/** Share of the prose that is left which the element with the content holds at least; an article, where there may be others. */
const MIN_MAIN_SHARE = 0.25;
const MIN_ARTICLE_SHARE = 0.6;
/** And an element inside of it that takes its place. */
const MIN_INNER_SHARE = 0.85;
/** Less prose does not say where the content is. */
const MIN_PROSE = 500;
/** Share of all prose, in names that drop too much. */
const MIN_KEPT_SHARE = 0.15;
const HOLDERS = new Set('html body main article section div td table tbody tr center form'.split(' '));
/** Classes and ids of elements that hold an article's text, as they are usual in blog software and newspapers. */
const CONTENT_NAME =
  /(^|[ _-])(article|entry|post|story|news|blog)[_-]*(body|content|text)($|[ _-])|(^|\s)(field-name-body|articletext|maincontent|main-content)($|\s)/i;
const ARTICLE = 3;
/** A block that is content by itself: as long as jusText's length_low, or half of that and ending as sentences do. */
const GOOD_CHARS = 70;
const SENTENCE_CHARS = 35;
const SENTENCE_END = /[.!?:;…。！？」”"')\]]$/;
/** Of a block's characters in links: above, it is not content (jusText has 0.2; lists of references in documentation have more). */
const MAX_LINK_DENSITY = 0.5;
/** Share of an article's text that is prose, at least. Assumption. */
const ARTICLE_PROSE = 0.7;
/** Blocks of links in a row that are a menu; fewer are a reference in a text. */
const MENU_BLOCKS = 3;
/** A cell of more characters on average is a part of a layout. */
const MAX_CELL_CHARS = 400;
/** A block of code that is nearly the whole page is a page written without HTML: no fence. */
const WHOLE_PAGE_SHARE = 0.8;
const WIDE = /[\u3040-\u9fff\uac00-\ud7af]/;

type BlockKind = 'text' | 'heading' | 'item' | 'code' | 'table';

interface Block {
  kind: BlockKind;
  text: string;
  numChars: number;
  numLinkChars: number;
}

/** @param isXml written as XHTML */
export function extractPage(html: string, isXml: boolean): ExtractedPage | { reason: string } {
  const nodes = parseHtml(html, isXml);
  if (!nodes) return { reason: `a page of more than ${MAX_NODES} elements and texts` };
  let page = new Page(nodes, 'named');
  let text = contentOf(page);
  // Names that misled: hardly anything of a page's prose is left.
  if (page.totalProse >= MIN_PROSE && text.length < MIN_KEPT_SHARE * page.totalProse) {
    page = new Page(nodes, 'exactly named');
    text = contentOf(page);
  }
  if (/\p{Surrogate}/u.test(text)) text = text.replace(/\p{Surrogate}/gu, '\ufffd');
  return { text, metadata: page.metadata() };
}

function contentOf(page: Page): string {
  const { index: main, isNamed } = page.mainElement();
  const blocks = keepContent(page.blocks(main), isNamed);
  return joinBlocks(blocks.some(isTitle) ? blocks : [...page.opening(main), ...blocks]);
}

/** All of a page of a book, or of a document turned into HTML: nothing but its head and lists of links is boilerplate. */
export function renderFragment(html: string, isXml = false): string | { reason: string } {
  const nodes = parseHtml(html, isXml);
  if (!nodes) return { reason: `a document of more than ${MAX_NODES} elements and texts` };
  const page = new Page(nodes, 'heads');
  return joinBlocks(keepContent(page.blocks(-1), true));
}

class Page {
  private readonly nodes: readonly HtmlNode[];
  /** Characters of text below a node, and of those the ones in links. */
  private readonly numChars: Int32Array;
  private readonly numLinkChars: Int32Array;
  /** Below it are elements that no cell of a table of data has. */
  private readonly isRich: Uint8Array;
  private readonly isDropped: Uint8Array;
  /** Characters of prose below a node. */
  private readonly numProse: Int32Array;
  private readonly partlyNamedShare: number;
  private totalChars = 0;
  readonly totalProse: number;

  /** @param dropping what is boilerplate: by names that hold a word, by those that are one, or heads alone */
  constructor(nodes: readonly HtmlNode[], dropping: 'named' | 'exactly named' | 'heads') {
    this.nodes = nodes;
    this.partlyNamedShare = dropping === 'named' ? MAX_PARTLY_NAMED_SHARE : 0;
    this.numChars = new Int32Array(nodes.length);
    this.numLinkChars = new Int32Array(nodes.length);
    this.isRich = new Uint8Array(nodes.length);
    this.isDropped = new Uint8Array(nodes.length);
    this.measure();
    this.numProse = this.proseBelow(() => false);
    this.totalProse = this.numProse[nodes.length];
    if (dropping === 'heads') this.dropHeads();
    else this.drop();
  }

  private measure(): void {
    const { nodes, numChars, numLinkChars, isRich } = this;
    for (let i = nodes.length - 1; i >= 0; i--) {
      const { tag, text, parent, attributes } = nodes[i];
      if (tag === '') numChars[i] = isBlank(text) ? 0 : text.length;
      else if (tag === 'a' && attributes?.href !== undefined) numLinkChars[i] = numChars[i];
      if (tag === 'title' || tag === 'head') numChars[i] = 0;
      if (parent < 0) this.totalChars += numChars[i];
      else {
        numChars[parent] += numChars[i];
        numLinkChars[parent] += numLinkChars[i];
        if (isRich[i] || RICH.has(tag)) isRich[parent] = 1;
      }
    }
  }

  /**
   * Characters of prose below each node, and at the end of all: what stands directly in a block, with what is inline in it, is prose where it
   * is long and no link.
   */
  private proseBelow(isLeftOut: (i: number) => boolean): Int32Array {
    const { nodes } = this;
    const prose = new Int32Array(nodes.length + 1);
    const own = new Int32Array(nodes.length + 1);
    for (let i = nodes.length - 1; i >= 0; i--) {
      if (isLeftOut(i)) continue;
      const { tag, parent } = nodes[i];
      if (tag === '') own[i] = this.numChars[i];
      else if (tag === 'a') own[i] = 0;
      else if (isBlock(tag)) {
        if (own[i] >= PROSE_CHARS && !HEADING.test(tag)) prose[i] += own[i];
        own[i] = 0;
      }
      const up = parent < 0 ? nodes.length : parent;
      own[up] += own[i];
      prose[up] += prose[i];
    }
    return prose;
  }

  private drop(): void {
    const { nodes, isDropped } = this;
    const verdicts = new Map<string, number>();
    // Depth of elements inside which less is dropped, by the index where they end.
    let codeEnd = 0;
    let mainEnd = 0;
    for (let i = 0; i < nodes.length; ) {
      const node = nodes[i];
      if (node.tag === 'pre') codeEnd = Math.max(codeEnd, node.end);
      if (node.tag === 'main' || node.tag === 'article' || node.attributes?.role === 'main')
        mainEnd = Math.max(mainEnd, node.end);
      if (node.tag !== '' && this.isBoilerplate(i, i < codeEnd, i < mainEnd, verdicts)) {
        isDropped[i] = 1;
        i = node.end;
      } else i++;
    }
  }

  private dropHeads(): void {
    for (const [i, { tag }] of this.nodes.entries()) if (tag === 'head' || tag === 'nav') this.isDropped[i] = 1;
  }

  private isBoilerplate(i: number, inCode: boolean, inMain: boolean, verdicts: Map<string, number>): boolean {
    const { tag, attributes } = this.nodes[i];
    if (tag === 'head' || tag === 'title') return true;
    if (tag === 'body' || tag === 'html' || tag === 'main' || tag === 'article') return false;
    if (DROPPED_TAGS.has(tag)) return true;
    if (tag === 'header') return !inMain && this.isSmall(i) && !this.holdsHeading(i);
    if (!attributes) return tag === 'aside';
    const { class: cls, id, role, style } = attributes;
    const names = cls === undefined && id === undefined ? '' : `${cls ?? ''} ${id ?? ''}`;
    if (attributes.hidden !== undefined || (style !== undefined && HIDDEN_STYLE.test(style))) return this.isSmall(i);
    if (role !== undefined && DROPPED_ROLES.has(role)) return this.isSmall(i) || role === 'navigation';
    if (tag === 'aside') return !(inMain && ADMONITION.test(names.toLowerCase()));
    if (names === '') return false;
    let verdict = verdicts.get(names);
    if (verdict === undefined) {
      verdict = verdictOf(names);
      verdicts.set(names, verdict);
    }
    if (verdict === Verdict.none) return false;
    if (!this.isSmall(i, verdict & Verdict.exact ? MAX_DROPPED_SHARE : this.partlyNamedShare)) return false;
    if (verdict & Verdict.inline) return true;
    return !inCode && (isBlock(tag) || tag === 'span') && !this.holdsMain(i);
  }

  /** Of the page's prose, or of all its text where there is none. */
  private isSmall(i: number, share = MAX_DROPPED_SHARE): boolean {
    if (this.totalProse > 0) return this.numProse[i] <= share * this.totalProse;
    return this.numChars[i] - this.numLinkChars[i] <= share * this.totalChars;
  }

  /** Looks at a bounded number of nodes: only a heading near the beginning counts. */
  private holdsHeading(i: number): boolean {
    for (let k = i + 1; k < Math.min(this.nodes[i].end, i + 64); k++) if (this.nodes[k].tag === 'h1') return true;
    return false;
  }

  private holdsMain(i: number): boolean {
    for (let k = i + 1; k < Math.min(this.nodes[i].end, i + 64); k++)
      if (this.nodes[k].tag === 'main' || this.nodes[k].tag === 'article' || this.nodes[k].attributes?.role === 'main')
        return true;
    return false;
  }

  /**
   * The element with the content: one that the page names so and that holds enough of its text, and below it the smallest that still holds
   * nearly all of the prose. -1: the whole page.
   */
  mainElement(): { index: number; isNamed: boolean } {
    const { nodes, isDropped } = this;
    // What is left; links say little about how much of the page the content is.
    const text = new Int32Array(nodes.length + 1);
    const prose = this.proseBelow((i) => isDropped[i] === 1);
    const ranks = new Map<number, number>();
    for (let i = 0; i < nodes.length; i = isDropped[i] ? nodes[i].end : i + 1) {
      const rank = isDropped[i] ? -1 : contentRank(nodes[i]);
      if (rank >= 0) ranks.set(i, rank);
    }
    for (let i = nodes.length - 1; i >= 0; i--) {
      if (isDropped[i]) continue;
      const { tag, parent } = nodes[i];
      if (tag === '') text[i] = this.numChars[i];
      else if (tag === 'a') text[i] /= 4;
      text[parent < 0 ? nodes.length : parent] += text[i];
    }
    const size = prose[nodes.length] > 0 ? prose : text;
    const total = size[nodes.length];
    let best = -1;
    for (const [index, rank] of ranks) {
      if (size[index] < MIN_MAIN_SHARE * total || text[index] === 0) continue;
      // Of several articles on a page one is not the content, unless it is most of the page.
      if (rank === ARTICLE && size[index] < MIN_ARTICLE_SHARE * total) continue;
      const known = best < 0 ? Number.POSITIVE_INFINITY : (ranks.get(best) as number);
      if (rank < known || (rank === known && size[index] > size[best])) best = index;
    }
    const isNamed = best >= 0;
    if (total === 0 || size !== prose || prose[nodes.length] < MIN_PROSE) return { index: best, isNamed };
    // Down to the smallest element with nearly all of the prose.
    let at = best;
    for (;;) {
      const wanted = MIN_INNER_SHARE * prose[at < 0 ? nodes.length : at];
      let next = -1;
      const end = at < 0 ? nodes.length : nodes[at].end;
      for (let k = at + 1; k < end; k = nodes[k].end)
        if (!isDropped[k] && prose[k] >= wanted && HOLDERS.has(nodes[k].tag)) next = k;
      if (next < 0) break;
      at = next;
    }
    return { index: at, isNamed };
  }

  /** The page's title where the content begins below it, and what prose stands between: a summary. */
  opening(main: number): Block[] {
    const { nodes, isDropped } = this;
    let title = -1;
    for (let i = 0; i < main; i = isDropped[i] ? nodes[i].end : i + 1)
      if (nodes[i].tag === 'h1' && nodes[i].end <= main && !isDropped[i]) title = i;
    if (title < 0) return [];
    return this.blocksOf(title, main, this.totalChars).filter(
      (block) => isTitle(block) || (block.kind === 'text' && block.numChars >= PROSE_CHARS && isGood(block)),
    );
  }

  metadata(): Record<string, string> {
    const metadata: Record<string, string> = {};
    const keep = (name: string, value: string | undefined) => {
      const clean = value?.replace(/\s+/g, ' ').trim().slice(0, 500);
      if (clean && metadata[name] === undefined) metadata[name] = clean.replace(/\p{Surrogate}/gu, '\ufffd');
    };
    for (const [i, { tag, attributes, end }] of this.nodes.entries()) {
      if (tag === 'html') keep('language', attributes?.lang ?? attributes?.['xml:lang']);
      else if (tag === 'title' && i + 1 < end) keep('title', this.nodes[i + 1].text);
      else if (tag === 'link' && attributes?.rel === 'canonical' && isWebAddress(attributes.href))
        keep('url', attributes.href);
      else if (tag === 'meta') {
        const name = (attributes?.property ?? attributes?.name ?? attributes?.itemprop ?? '').toLowerCase();
        if (name === 'og:title') keep('title', attributes?.content);
        else if (name === 'og:url' && isWebAddress(attributes?.content)) keep('url', attributes?.content);
        else if (/^(article:published_time|date|dc\.date|datepublished|citation_publication_date)$/.test(name))
          keep('date', attributes?.content);
      }
    }
    return metadata;
  }

  /** Blocks of text below an element, or of the whole page (-1). */
  blocks(main: number): Block[] {
    return main < 0
      ? this.blocksOf(0, this.nodes.length, this.totalChars)
      : this.blocksOf(main, this.nodes[main].end, this.numChars[main]);
  }

  private blocksOf(start: number, end: number, total: number): Block[] {
    const writer = new BlockWriter();
    const { nodes, isDropped } = this;
    const open: number[] = [];
    for (let i = start; i < end; ) {
      while (open.length > 0 && nodes[open[open.length - 1]].end <= i) writer.leave(nodes[open.pop() as number]);
      const node = nodes[i];
      if (node.tag === '') {
        writer.text(node.text);
        i++;
      } else if (isDropped[i]) i = node.end;
      else if (node.tag === 'pre') {
        writer.code(this.rawText(i), this.numChars[i] > WHOLE_PAGE_SHARE * total ? undefined : this.codeLanguage(i));
        i = node.end;
      } else if (node.tag === 'table' && !this.isRich[i] && node.attributes?.role !== 'presentation') {
        writer.table(this.rows(i));
        i = node.end;
      } else {
        writer.enter(node);
        open.push(i);
        i++;
      }
    }
    while (open.length > 0) writer.leave(nodes[open.pop() as number]);
    return writer.finish();
  }

  private rawText(i: number): string {
    const { nodes, isDropped } = this;
    let text = '';
    for (let k = i + 1; k < nodes[i].end; ) {
      const node = nodes[k];
      if (isDropped[k]) {
        k = node.end;
        continue;
      }
      if (node.tag === '') text += node.text;
      else if (node.tag === 'br') text += '\n';
      k++;
    }
    return text;
  }

  /** Empty where none is named. */
  private codeLanguage(i: number): string {
    const { nodes } = this;
    const near = [i, i + 1, nodes[i].parent, nodes[i].parent < 0 ? -1 : nodes[nodes[i].parent].parent];
    for (const k of near) {
      const language = CODE_LANGUAGE.exec(nodes[k]?.attributes?.class ?? '')?.[1]?.toLowerCase();
      if (language && !NO_LANGUAGE.has(language)) return language;
    }
    return '';
  }

  private rows(table: number): Row[] {
    const { nodes, isDropped } = this;
    const rows: Row[] = [];
    let row: Row | undefined;
    for (let k = table + 1; k < nodes[table].end; ) {
      const { tag, end } = nodes[k];
      if (isDropped[k]) k = end;
      else if (tag === 'tr') {
        row = { cells: [], isHeader: false, numChars: 0, numLinkChars: 0 };
        rows.push(row);
        k++;
      } else if (tag === 'td' || tag === 'th' || tag === 'caption') {
        if (!row || tag === 'caption') {
          row = { cells: [], isHeader: false, numChars: 0, numLinkChars: 0 };
          rows.push(row);
        }
        row.cells.push(cleanInline(this.inlineText(k)).replaceAll('\n', ' '));
        if (tag === 'th') row.isHeader = true;
        row.numChars += this.numChars[k];
        row.numLinkChars += this.numLinkChars[k];
        if (tag === 'caption') row = undefined;
        k = end;
      } else k++;
    }
    return rows;
  }

  private inlineText(i: number): string {
    const { nodes, isDropped } = this;
    let text = '';
    for (let k = i + 1; k < nodes[i].end; ) {
      const { tag, end } = nodes[k];
      if (isDropped[k]) {
        k = end;
        continue;
      }
      if (tag === '') text += nodes[k].text;
      else if (tag === 'br' || isBlock(tag)) text += ' ';
      k++;
    }
    return text;
  }
}

/** Elements that make a table a layout. */
const RICH = new Set('table pre h1 h2 h3 h4 h5 h6 ul ol dl blockquote form article section nav'.split(' '));

interface Row {
  cells: string[];
  isHeader: boolean;
  numChars: number;
  numLinkChars: number;
}

interface List {
  isOrdered: boolean;
  next: number;
}

/** Elements and texts in order -> blocks. */
class BlockWriter {
  private readonly blocks: Block[] = [];
  private inline = '';
  private numLinkChars = 0;
  private linkDepth = 0;
  private headingLevel = 0;
  private quoteDepth = 0;
  private readonly lists: List[] = [];
  /** What the next block of an item begins with. */
  private marker: string | undefined;
  private itemDepth = 0;

  finish(): Block[] {
    this.flush();
    return this.blocks;
  }

  text(text: string): void {
    if (this.linkDepth > 0 && !isBlank(text)) this.numLinkChars += text.length;
    this.inline += text;
  }

  enter(node: HtmlNode): void {
    const { tag, attributes } = node;
    switch (tag) {
      case 'br':
        this.inline += '\v';
        return;
      case 'a':
        if (attributes?.href !== undefined) this.linkDepth++;
        return;
      case 'code':
        if (this.headingLevel === 0) this.inline += '`';
        return;
      case 'ul':
      case 'ol':
        this.flush();
        this.lists.push({ isOrdered: tag === 'ol', next: 1 });
        return;
      case 'li': {
        this.flush();
        const list = this.lists[this.lists.length - 1];
        this.marker = list?.isOrdered ? `${list.next++}. ` : '- ';
        this.itemDepth++;
        return;
      }
      case 'blockquote':
        this.flush();
        this.quoteDepth++;
        return;
    }
    if (!isBlock(tag)) return;
    this.flush();
    if (HEADING.test(tag)) this.headingLevel = Number(tag[1]);
  }

  leave({ tag, attributes }: HtmlNode): void {
    switch (tag) {
      case 'a':
        if (attributes?.href !== undefined) this.linkDepth--;
        return;
      case 'code':
        if (this.headingLevel > 0) return;
        // Nothing between: no code.
        if (this.inline.endsWith('`')) this.inline = this.inline.slice(0, -1);
        else this.inline += '`';
        return;
      case 'ul':
      case 'ol':
        this.flush();
        this.lists.pop();
        return;
      case 'li':
        this.flush();
        this.marker = undefined;
        this.itemDepth--;
        return;
      case 'blockquote':
        this.flush();
        this.quoteDepth--;
        return;
    }
    if (!isBlock(tag)) return;
    this.flush();
    if (HEADING.test(tag)) this.headingLevel = 0;
  }

  /** @param language undefined: no fence */
  code(raw: string, language: string | undefined): void {
    this.flush();
    const text = raw
      .replace(/\r\n?/g, '\n')
      .replace(/^(?:[ \t]*\n)+/, '')
      .trimEnd();
    if (text === '') return;
    const longest = Math.max(2, ...(text.match(/`{3,}/g) ?? []).map((run) => run.length));
    const fence = '`'.repeat(longest + 1);
    const fenced = language === undefined ? text : `${fence}${language}\n${text}\n${fence}`;
    this.push('code', fenced, text.length, 0);
  }

  table(rows: readonly Row[]): void {
    this.flush();
    const filled = rows.filter(({ cells }) => cells.some((cell) => cell !== ''));
    const numColumns = filled.reduce((most, { cells }) => Math.max(most, cells.length), 0);
    const numCells = filled.reduce((sum, { cells }) => sum + cells.length, 0);
    const numChars = filled.reduce((sum, row) => sum + row.numChars, 0);
    if (numCells === 0) return;
    if (numColumns < 2 || numChars > MAX_CELL_CHARS * numCells) {
      for (const row of filled)
        for (const cell of row.cells)
          if (cell !== '')
            this.push('text', cell, cell.length, (cell.length * row.numLinkChars) / Math.max(1, row.numChars));
      return;
    }
    const lines: string[] = [];
    for (const [i, { cells, isHeader }] of filled.entries()) {
      lines.push(`| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
      if (i === 0 && isHeader) lines.push(`|${' --- |'.repeat(cells.length)}`);
    }
    const numLinkChars = filled.reduce((sum, row) => sum + row.numLinkChars, 0);
    this.push('table', lines.join('\n'), numChars, numLinkChars);
  }

  private flush(): void {
    if (this.inline === '') return;
    const text = cleanInline(this.inline);
    const { numLinkChars } = this;
    this.inline = '';
    this.numLinkChars = 0;
    if (text === '' || text === '`') return;
    if (this.headingLevel > 0) {
      const line = text.replaceAll('\n', ' ');
      this.push('heading', `${'#'.repeat(this.headingLevel)} ${line}`, line.length, numLinkChars);
    } else this.push(this.itemDepth > 0 ? 'item' : 'text', text, text.length, numLinkChars);
  }

  private push(kind: BlockKind, text: string, numChars: number, numLinkChars: number): void {
    let indented = text;
    if (this.itemDepth > 0) {
      const indent = '  '.repeat(Math.min(this.itemDepth, 8) - 1);
      const first = this.marker ?? '  ';
      indented = indent + first + text.replaceAll('\n', `\n${indent}${' '.repeat(first.length)}`);
      this.marker = undefined;
    }
    if (this.quoteDepth > 0) indented = indented.replace(/^/gm, '> '.repeat(Math.min(this.quoteDepth, 8)));
    this.blocks.push({ kind, text: indented, numChars, numLinkChars });
  }
}

const Verdict = { none: 0, block: 1, inline: 2, exact: 4 } as const;

/** How much an element's name says that it holds the content; the least says most, -1 nothing. */
function contentRank({ tag, attributes }: HtmlNode): number {
  if (attributes?.itemprop === 'articleBody') return 0;
  if (
    attributes &&
    isBlock(tag) &&
    tag !== 'body' &&
    CONTENT_NAME.test(`${attributes.class ?? ''} ${attributes.id ?? ''}`)
  )
    return 1;
  if (tag === 'main' || attributes?.role === 'main') return 2;
  return tag === 'article' ? ARTICLE : -1;
}

/** By the words of a class and an id. */
function verdictOf(names: string): number {
  let verdict: number = Verdict.none;
  for (const name of names.split(/\s+/)) {
    const words = name.replace(/([a-z])([A-Z])/g, '$1-$2').toLowerCase();
    const isInline = DROPPED_INLINE.some.test(words) || words === 'hidden';
    if (!isInline && !DROPPED_BLOCK.some.test(words)) continue;
    verdict |= isInline ? Verdict.inline : Verdict.block;
    if (isInline ? words === 'hidden' || DROPPED_INLINE.whole.test(words) : DROPPED_BLOCK.whole.test(words))
      verdict |= Verdict.exact;
  }
  return verdict;
}

/** Finds one of these words between marks, and where nothing else is there. */
function wordsOf(words: string): { some: RegExp; whole: RegExp } {
  return { some: new RegExp(`(?:^|[_-])(?:${words})(?:$|[_-])`), whole: new RegExp(`^(?:${words})$`) };
}

function isWebAddress(address: string | undefined): boolean {
  return /^https?:/i.test(address ?? '');
}

const HEADING = /^h[1-6]$/;

function isBlank(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 32 && code !== 0xa0) return false;
  }
  return true;
}

/** White space as browsers show it; a vertical tab stands for a line break. */
function cleanInline(text: string): string {
  const clean = text.replace(/[^\S\v]+/g, ' ').trim();
  return clean.includes('\v') ? clean.replace(/ ?\v ?/g, '\n').trim() : clean;
}

/** @param isMain the page says what its content is, so that nothing is cut off its beginning */
function keepContent(blocks: readonly Block[], isMain: boolean): readonly Block[] {
  const isArticle = isRunningText(blocks);
  const isMenu = markMenus(blocks, isArticle ? 1 : MENU_BLOCKS);
  const rest = blocks.filter((block, i) => !isMenu[i] && block.text !== blocks[i - 1]?.text);
  if (isMain) return isArticle ? rest.slice(0, rest.findLastIndex(isGood) + 1) : rest;
  const first = rest.findIndex(isGood);
  // Nothing that looks like running text: short lines are all there is.
  if (first < 0) return rest;
  let start = first;
  while (start > 0 && first - start < 3 && rest[start - 1].kind === 'heading') start--;
  // A title above a date and an author.
  for (let i = start - 1; i >= Math.max(0, start - 4); i--) if (rest[i].text.startsWith('# ')) start = i;
  const end = rest.findLastIndex(isGood) + 1;
  // Items that follow an introduction belong to it.
  let last = end;
  while (last < rest.length && rest[last].kind === 'item' && linkDensity(rest[last]) <= MAX_LINK_DENSITY) last++;
  return rest.slice(start, last);
}

/** Nearly all of it is prose: what else stands alone, or at the end, does not belong to it, as it may in a reference of short entries. */
function isRunningText(blocks: readonly Block[]): boolean {
  const sum = (some: readonly Block[]) => some.reduce((total, { numChars }) => total + numChars, 0);
  const numGood = sum(blocks.filter((block) => block.kind === 'text' && isGood(block)));
  return numGood >= MIN_PROSE && numGood >= ARTICLE_PROSE * sum(blocks);
}

function markMenus(blocks: readonly Block[], least: number): boolean[] {
  const isLink = blocks.map(
    (block) => block.kind !== 'code' && linkDensity(block) > MAX_LINK_DENSITY && block.numChars < 300,
  );
  const isMenu: boolean[] = new Array(blocks.length).fill(false);
  for (let start = 0; start < blocks.length; ) {
    if (!isLink[start] || blocks[start].kind === 'heading') {
      start++;
      continue;
    }
    let end = start;
    while (end < blocks.length && isLink[end]) end++;
    if (end - start >= least) {
      const title = blocks[start - 1]?.kind === 'heading' ? start - 1 : start;
      const hasMore = title < start && end < blocks.length && headingLevel(blocks[end]) > headingLevel(blocks[title]);
      isMenu.fill(true, hasMore ? start : title, end);
    }
    start = end;
  }
  return isMenu;
}

const isTitle = ({ text, kind }: Block): boolean => kind === 'heading' && text.startsWith('# ');

/** 7 for what is no heading. */
function headingLevel({ kind, text }: Block): number {
  return kind === 'heading' ? text.indexOf(' ') : 7;
}

function linkDensity({ numChars, numLinkChars }: Block): number {
  return numLinkChars / Math.max(1, numChars);
}

function isGood(block: Block): boolean {
  if (block.kind === 'code') return true;
  if (block.kind === 'heading' || linkDensity(block) > MAX_LINK_DENSITY) return false;
  const numChars = (block.numChars - block.numLinkChars) * (WIDE.test(block.text) ? 3 : 1);
  return numChars >= GOOD_CHARS || (numChars >= SENTENCE_CHARS && SENTENCE_END.test(block.text));
}

function joinBlocks(blocks: readonly Block[]): string {
  let text = '';
  for (const [i, block] of blocks.entries()) {
    if (i > 0) text += block.kind === 'item' && blocks[i - 1].kind === 'item' ? '\n' : '\n\n';
    text += block.text;
  }
  return text;
}
