import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { extractPage } from '../../src/corpus/html/extract.ts';
import { readCorpus } from '../../src/corpus/index.ts';

const textOf = (html: string, isXml = false): string => {
  const page = extractPage(html, isXml);
  if ('reason' in page) throw new Error(page.reason);
  return page.text;
};

const LONG =
  'A paragraph long enough that it is content by its length alone, as running text is on most pages of the web.';
const NEWS = `<!doctype html><html lang="en"><head><title>Water | The Daily</title>
<meta property="article:published_time" content="2026-01-02"><link rel="canonical" href="https://example.org/water">
<style>p { color: red }</style><script>if (a < b) document.write("<p>never</p>")</script></head>
<body class="has-sidebar"><div id="cookieBanner">We use cookies to improve your experience on this site. Accept all of them?</div>
<header><a href="/">The Daily</a><nav><ul><li><a href="/a">World</a><li><a href="/b">Sports</a><li><a href="/c">Arts</a></ul></nav></header>
<div class="wrapper"><div class="menu-left"><a href="/x">One</a><a href="/y">Two</a></div>
<div class="story"><h1>Water rises</h1><p class="meta">2 January</p><p>${LONG}</p><p>Short one between.</p>
<div class="share-buttons">Share this story with all of your friends and family, everywhere!</div>
<blockquote><p>It was ${LONG}</p></blockquote>
<h2>What to do</h2><ul><li>Close the <b>doors</b><li>Call <a href="tel:112">112</a> &amp; wait<ol><li>inner</ol></ul>
<pre class="highlight"><code class="language-python">def f(a):
    return a &lt; 1   # <span class="comment">keep</span>
</code></pre>
<table><tr><th>Town<th>Level</tr><tr><td>Upper | Lower</td><td><code>1.5</code> m</td></tr></table>
<p>${LONG} The end.</p></div>
<div class="related"><h3>More</h3><p>Another story with a long teaser text, which is here to be found by mistake.</p></div></div>
<footer><p>Copyright 2026 The Daily. All rights reserved, everywhere and for ever and ever.</p></footer></body></html>`;

describe('main content', () => {
  it('keeps headings, lists, code, quotes and tables; leaves menus, banners, teasers and scripts out', () => {
    expect(textOf(NEWS)).toBe(
      [
        '# Water rises',
        '2 January',
        LONG,
        'Short one between.',
        `> It was ${LONG}`,
        '## What to do',
        '- Close the doors\n- Call 112 & wait\n  1. inner',
        '```python\ndef f(a):\n    return a < 1   # keep\n```',
        '| Town | Level |\n| --- | --- |\n| Upper \\| Lower | 1.5 m |',
        `${LONG} The end.`,
      ].join('\n\n'),
    );
  });

  it('knows title, language, date and address', () => {
    const page = extractPage(NEWS, false);
    expect(page).toMatchObject({
      metadata: {
        title: 'Water | The Daily',
        language: 'en',
        date: '2026-01-02',
        url: 'https://example.org/water',
      },
    });
  });

  it('takes <main> for the content, short as its parts may be', () => {
    const main = '<h1>API</h1><dl><dt><code>f(x)</code><dd>Returns x.<dt>g()<dd>Nothing.</dl>';
    expect(textOf(`<div><a href=1>Home</a> Left</div><main>${main}</main><div>Right</div>`)).toBe(
      '# API\n\n`f(x)`\n\nReturns x.\n\ng()\n\nNothing.',
    );
  });

  it('reads pages without paragraphs, without structure, and layouts made of tables', () => {
    expect(textOf('Hello<br>world &eacute; &#128512;')).toBe('Hello\nworld é 😀');
    expect(textOf('<p>One<p>Two')).toBe('One\n\nTwo');
    expect(
      textOf(
        `<table><tr><td><ul><li><a href=1>a</a><li><a href=2>b</a><li><a href=3>c</a></ul><td><h1>T</h1>${LONG}</table>`,
      ),
    ).toBe(`# T\n\n${LONG}`);
    expect(textOf(`<pre>Request for comments\n\n  ${LONG}\n</pre>`)).toBe(`Request for comments\n\n  ${LONG}`);
  });

  it('takes the element with nearly all prose, with title and summary from above it', () => {
    const teaser = '<div><p>A teaser of something else on this site, which is long enough to be prose.</p></div>';
    const summary = 'The summary says in a sentence what follows below, so long it is.';
    const body = `${LONG} `.repeat(8).trim();
    expect(
      textOf(
        `<div><h1>Water rises</h1><p>By A. Writer</p><p>${summary}</p></div>` +
          `<div class="body"><p>${body}</p><p>${LONG} Two.</p><p>Tags: water</p></div>${teaser}`,
      ),
    ).toBe(`# Water rises\n\n${summary}\n\n${body}\n\n${LONG} Two.`);
  });

  it('knows the content by the names that blogs give it, and by no word inside of a longer name', () => {
    const long = `<p>${LONG} ${LONG}</p><p>${LONG} ${LONG} Two.</p>`;
    const other = `<div><p>${LONG} Three.</p></div>`;
    const expected = `${LONG} ${LONG}\n\n${LONG} ${LONG} Two.`;
    expect(textOf(`${other}<div class="entry-content">${long}</div>${other}`)).toBe(expected);
    for (const name of ['l-sidebar-fixed', 'field-label-hidden', 'content-with-sidebar-wrp', 'and-w-sidebar'])
      expect(textOf(`<div class="${name}">${long}</div><div class="sidebar">${other}</div>`), name).toBe(expected);
  });

  it('keeps prose in other scripts', () => {
    const japanese = '吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。';
    expect(textOf(`<div>メニュー</div><p>${japanese}</p><div>終わり</div>`)).toBe(japanese);
  });

  it('keeps a page whose class looks like a menu', () => {
    expect(textOf(`<div class="menu-open sidebar"><p>${LONG}</p><p>${LONG} Two.</p></div>`)).toBe(
      `${LONG}\n\n${LONG} Two.`,
    );
  });

  it('closes empty elements in XHTML only', () => {
    expect(textOf('<?xml version="1.0"?><html><body><script src="x"/><p>Read me</p></body></html>', true)).toBe(
      'Read me',
    );
    expect(textOf('<div/><p>Read me')).toBe('Read me');
  });

  it('answers hostile pages in time and memory that follow their size', () => {
    const n = 100_000;
    expect(textOf(`${'<div>'.repeat(n)}deep inside${'</div>'.repeat(n)}`)).toBe('deep inside');
    expect(textOf(`${'<div>'.repeat(600)}${'</x></div>'.repeat(n)}after`)).toBe('after');
    expect(textOf(`<p class="${'x'.repeat(5e6)}" ${'a=b '.repeat(n)}>hi`)).toBe('hi');
    expect(textOf(`${'<table><tr><td>'.repeat(n)}x`)).toBe('x');
    expect(textOf(`${'<ul><li>'.repeat(n)}x`)).toMatch(/^ *- x$/);
    expect(textOf(`${'<blockquote>'.repeat(n)}x`)).toMatch(/^(> )+x$/);
    expect(textOf(`<pre>a${' '.repeat(n * 5)}b</pre>`)).toHaveLength(n * 5 + 2);
    expect(textOf('<'.repeat(n))).toBe('<'.repeat(n));
    expect(textOf('<!--'.repeat(n))).toBe('');
    expect(extractPage('<p>x'.repeat(1_000_001), false)).toEqual({
      reason: expect.stringMatching(/more than 2000000/),
    });
  });
});

describe('files', () => {
  let folder: string;
  beforeAll(() => {
    folder = fs.mkdtempSync(path.join(os.tmpdir(), 'continuo-html-'));
  });
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
  const read = async (name: string, data: string | Uint8Array) => {
    const file = path.join(folder, name);
    fs.writeFileSync(file, data);
    const texts: string[] = [];
    for await (const document of readCorpus({ paths: file })) texts.push(document.text);
    return texts;
  };

  it('decodes by mark, meta, declaration, and else as Windows-1252', async () => {
    const latin = (text: string) => Buffer.from(text, 'latin1');
    expect(await read('a.html', '\ufeff<p>ünï')).toEqual(['ünï']);
    expect(await read('b.html', Buffer.from('\ufeff<p>ünï', 'utf16le'))).toEqual(['ünï']);
    expect(await read('c.htm', latin('<meta charset=iso-8859-1><p>\xfcn\xef'))).toEqual(['ünï']);
    expect(await read('d.html', latin('<p>\x93\xfcn\xef\x94'))).toEqual(['“ünï”']);
    const shiftJis = Buffer.concat([
      Buffer.from('<meta http-equiv=x content="text/html; charset=Shift_JIS"><p>'),
      Buffer.from([0x93, 0xfa, 0x96, 0x7b]),
    ]);
    expect(await read('e.html', shiftJis)).toEqual(['日本']);
    expect(await read('f.xhtml', latin('<?xml version="1.0" encoding="ISO-8859-15"?><p>\xa4</p>'))).toEqual(['€']);
  });

  it('sets a page aside that is not in the encoding that it claims', async () => {
    await expect(
      read('g.html', Buffer.concat([Buffer.from('<meta charset=utf-8><p>'), Buffer.alloc(50, 0xe4)])),
    ).rejects.toThrow(/g\.html: is not in the encoding utf-8 that it claims: 50 of 73 characters/);
  });
});
