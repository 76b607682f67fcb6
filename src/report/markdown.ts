// Content as Markdown, for a terminal, a pull request or a chat.
import type { Content, Table } from './content.ts';
import { BITS_PER_BYTE_NOTE } from './html.ts';
import { LEARNED_TITLE, type Learned } from './learned.ts';

export function runMarkdown(content: Content): string {
  return joinBlocks([
    `# ${content.title}`,
    content.status,
    `**${content.headline}**`,
    bullets(content.notes),
    content.learned && `## ${LEARNED_TITLE}\n\n${learnedMarkdown(content.learned)}`,
    content.scores &&
      `## Held-out scores\n\n${tableMarkdown(content.scores)}\n\n${BITS_PER_BYTE_NOTE} The charts are in report.html.`,
    content.forecast && `## Forecast\n\n${tableMarkdown(content.forecast.table)}\n\n${content.forecast.sentence}`,
    content.phases && `## What was planned\n\n${tableMarkdown(content.phases)}`,
    content.corpora && `### Corpora\n\n${tableMarkdown(content.corpora)}`,
    content.reasons && `### Why these numbers\n\n${tableMarkdown(content.reasons)}`,
    `## Warnings\n\n${warnings(content)}`,
    `## What ran\n\n${factsMarkdown(content.facts)}`,
    `## Go on from here\n\n${commandsMarkdown(content.commands)}`,
  ]);
}

export function joinBlocks(blocks: readonly (string | undefined)[]): string {
  return `${blocks.filter((block) => block !== undefined && block !== '').join('\n\n')}\n`;
}

export function bullets(lines: readonly string[]): string {
  return lines.map((line) => `- ${line}`).join('\n');
}

export function tableMarkdown(table: Table): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [
    line(table.columns.map((column) => column.title)),
    line(table.columns.map((column) => (column.align === 'right' ? '---:' : '---'))),
    ...table.rows.map((row, i) => line(i === table.stress ? row.map((cell) => `**${cell}**`) : row)),
  ].join('\n');
}

export function factsMarkdown(facts: readonly [string, string][]): string {
  return bullets(facts.map(([name, value]) => `${name}: ${value}`));
}

export function commandsMarkdown(commands: Content['commands']): string {
  return commands.map(({ what, command }) => `${what}:\n\n    ${command}`).join('\n\n');
}

export function learnedMarkdown({ answer, table, note, warnings, examples }: Learned): string {
  return joinBlocks([
    answer,
    table && tableMarkdown(table),
    note,
    bullets(warnings),
    ...examples.map((group) => `### ${group.title}\n\n${tableMarkdown(group.table)}`),
  ]).trimEnd();
}

function warnings(content: Content): string {
  if (content.warnings.length === 0) return 'None.';
  return bullets(
    content.warnings.map(
      (warning) =>
        `**${warning.severity}**: ${warning.message} ${warning.detail}${warning.source ? ` (${warning.source})` : ''}`,
    ),
  );
}
