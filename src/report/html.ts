// Content as one HTML page that needs nothing else: no script, no font, no image from anywhere.
import { packageVersion } from '../base/package.ts';
import { escapeXml } from './chart.ts';
import type { Content, Table } from './content.ts';
import { LEARNED_TITLE, type Learned } from './learned.ts';
import type { Figure } from './run-charts.ts';
import { STYLE } from './style.ts';

export const BITS_PER_BYTE_NOTE =
  'Bits per byte: how many bits the model needs for a byte of text that it has not seen. It does not depend on the tokenizer; lower is better.';

/** @param planJson plan.json as it stands, shown folded at the end of the plan */
export function runPage(
  content: Content,
  figures: Figure[],
  blend: Figure | undefined,
  planJson: string | undefined,
): string {
  return page(content.title, [
    heading(content.title, content.status, content.headline),
    notesList(content.notes),
    content.learned && section(LEARNED_TITLE, learnedHtml(content.learned)),
    content.scores &&
      section(
        'Held-out scores',
        `${tableHtml(content.scores)}<p class="aside">${BITS_PER_BYTE_NOTE}${hasErrors(content.scores) ? ` ${changeNote(content)}` : ''}</p>`,
      ),
    content.forecast &&
      section(
        'Forecast',
        `${tableHtml(content.forecast.table)}<p class="aside">${escapeXml(content.forecast.sentence)}</p>`,
      ),
    figures.length > 0 && section('What happened', figuresHtml(figures)),
    section(
      'What was planned',
      [
        blend && figuresHtml([blend]),
        content.phases && tableHtml(content.phases),
        content.corpora && `<h3>Corpora</h3>${tableHtml(content.corpora)}`,
        content.reasons && `<h3>Why these numbers</h3>${tableHtml(content.reasons)}`,
        planJson && `<details><summary>plan.json in full</summary><pre>${escapeXml(planJson)}</pre></details>`,
      ]
        .filter(Boolean)
        .join(''),
    ),
    section('Warnings', warningsHtml(content)),
    section('What ran', factsHtml(content.facts)),
    section('Go on from here', commandsHtml(content.commands)),
  ]);
}

export function page(title: string, parts: (string | false | undefined)[]): string {
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>${escapeXml(title)}</title><style>${STYLE}</style></head>
<body><main>
${parts.filter(Boolean).join('\n')}
<footer>Written by continuo ${packageVersion()} from the files of the run; every figure on this page is computed from them.</footer>
</main></body></html>
`;
}

export function heading(title: string, status: string, headline: string): string {
  const line = (name: string, text: string): string => (text ? `<p class="${name}">${escapeXml(text)}</p>` : '');
  return `<h1>${escapeXml(title)}</h1>${line('status', status)}${line('headline', headline)}`;
}

export function section(title: string, body: string): string {
  return body ? `<section><h2>${escapeXml(title)}</h2>${body}</section>` : '';
}

export function notesList(notes: readonly string[]): string {
  return notes.length === 0
    ? ''
    : `<ul class="notes">${notes.map((note) => `<li>${escapeXml(note)}</li>`).join('')}</ul>`;
}

export function tableHtml(table: Table): string {
  const cell = (tag: 'th' | 'td', text: string, column: number): string => {
    const { title, align } = table.columns[column]!;
    const classes = [align, column === 0 && tag === 'td' && 'first', title === 'source' && tag === 'td' && 'source']
      .filter(Boolean)
      .join(' ');
    return `<${tag}${classes ? ` class="${classes}"` : ''}>${escapeXml(text)}</${tag}>`;
  };
  const rows = table.rows.map(
    (row, i) =>
      `<tr${i === table.stress ? ' class="stress"' : ''}>${row.map((text, j) => cell('td', text, j)).join('')}</tr>`,
  );
  return `<div class="scroll"><table><thead><tr>${table.columns.map((column, j) => cell('th', column.title, j)).join('')}</tr></thead><tbody>${rows.join('')}</tbody></table></div>`;
}

export function figuresHtml(figures: readonly Figure[]): string {
  const draw = (figure: Figure): string =>
    `<figure${figure.wide ? ' style="grid-column:1/-1"' : ''}><figcaption><b>${escapeXml(figure.title)}</b><span>${escapeXml(figure.note)}</span></figcaption>${figure.drawing}</figure>`;
  return `<div class="figures">${figures.map(draw).join('')}</div>`;
}

export function factsHtml(facts: readonly [string, string][]): string {
  return `<dl>${facts.map(([name, value]) => `<dt>${escapeXml(name)}</dt><dd>${escapeXml(value)}</dd>`).join('')}</dl>`;
}

export function commandsHtml(commands: Content['commands']): string {
  return commands
    .map(({ what, command }) => `<p class="aside">${escapeXml(what)}</p><pre>${escapeXml(command)}</pre>`)
    .join('');
}

/** The body of the section on what was learned. */
export function learnedHtml({ answer, table, note, figures, warnings, examples }: Learned): string {
  return [
    `<p class="answer">${escapeXml(answer)}</p>`,
    figures.length > 0 && figuresHtml(figures),
    table && `${tableHtml(table)}<p class="aside">${escapeXml(note)}</p>`,
    warnings.length > 0 && `<ul class="notes">${warnings.map((line) => `<li>${escapeXml(line)}</li>`).join('')}</ul>`,
    ...examples.map(
      (group) => `<details><summary>${escapeXml(group.title)}</summary>${tableHtml(group.table)}</details>`,
    ),
  ]
    .filter(Boolean)
    .join('');
}

function hasErrors(scores: Table): boolean {
  return scores.rows.some((row) => row.some((cell) => cell.includes('±')));
}

function changeNote({ arePaired }: Content): string {
  return arePaired
    ? 'A ± is the standard error of the change over documents, each compared with itself.'
    : 'A ± is the standard error of the change over documents, an upper bound: both scores are of the same documents, so most of their error cancels.';
}

function warningsHtml(content: Content): string {
  if (content.warnings.length === 0) return '<p>None.</p>';
  return content.warnings
    .map(
      (warning) =>
        `<div class="pitfall ${escapeXml(warning.severity)}"><p><b>${escapeXml(warning.severity)}:</b> ${escapeXml(warning.message)}</p>` +
        `<p class="aside">${escapeXml(warning.detail)}${warning.source ? ` (${escapeXml(warning.source)})` : ''}</p></div>`,
    )
    .join('');
}
