// A comparison of two models as a page of its own.
import { ConfigError } from '../base/errors.ts';
import { writeFileAtomic } from '../base/files.ts';
import type { Comparison } from '../eval/index.ts';
import { heading, learnedHtml, page, section } from './html.ts';
import { LEARNED_TITLE, learnedOf } from './learned.ts';
import { learnedMarkdown } from './markdown.ts';

/**
 * @param file ends in .html or .md
 * @throws ConfigError for another ending
 */
export function writeDiffPage(file: string, comparison: Comparison): void {
  const learned = learnedOf(comparison);
  const title = `${comparison.tuned} beside ${comparison.base}`;
  if (file.endsWith('.md')) writeFileAtomic(file, `# ${title}\n\n${learnedMarkdown(learned)}\n`);
  else if (file.endsWith('.html'))
    writeFileAtomic(file, page(title, [heading(title, '', ''), section(LEARNED_TITLE, learnedHtml(learned))]));
  else throw new ConfigError(`--report: expected a file name that ends in .html or .md, found ${file}.`);
}
