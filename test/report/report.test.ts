import * as fs from 'node:fs';
import * as path from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { writeComparisonReport, writeReport } from '../../src/report/index.ts';
import { readRun, summarise } from '../../src/runs/index.ts';
import { answers, madeResults, writeResults } from '../eval/results.ts';
import { type FixtureOptions, temporaryFolder, writeRunFolder } from '../runs/fixture.ts';

const root = temporaryFolder();
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

let numFolders = 0;
function reportOf(
  options: FixtureOptions = {},
  edit: (folder: string) => void = () => {},
): { html: string; md: string; headline: string } {
  const folder = writeRunFolder(path.join(root, `run-${numFolders++}`), options);
  edit(folder);
  const files = writeReport(folder);
  return { html: fs.readFileSync(files.html, 'utf8'), md: fs.readFileSync(files.md, 'utf8'), headline: files.headline };
}

/** What no page may hold: figures that went wrong, or anything fetched from elsewhere. */
function expectSound(html: string): void {
  expect(html).not.toMatch(/NaN|Infinity|undefined|\[object/);
  expect(html).not.toMatch(/https?:|src=|<script|<link|url\((?!#)|@import/);
}

/** Every text of an SVG with its box, estimated narrowly, so that a reported overlap is one. */
function textBoxes(svg: string): { text: string; left: number; right: number; y: number }[] {
  return [...svg.matchAll(/<text([^>]*)>([^<]*)<\/text>/g)].map(([, attributes, text]) => {
    const number = (name: string): number => Number(new RegExp(` ${name}="([-\\d.]+)"`).exec(attributes!)?.[1]);
    const anchor = /text-anchor="(\w+)"/.exec(attributes!)?.[1];
    const width = text!.length * 5.4;
    const left = number('x') - (anchor === 'end' ? width : anchor === 'middle' ? width / 2 : 0);
    return { text: text!, left, right: left + width, y: number('y') };
  });
}

function expectNoOverlap(html: string): void {
  const drawings = html.match(/<svg[\s\S]*?<\/svg>/g) ?? [];
  expect(drawings.length).toBeGreaterThan(0);
  for (const drawing of drawings) {
    const boxes = textBoxes(drawing);
    for (const [i, a] of boxes.entries())
      for (const b of boxes.slice(i + 1))
        if (Math.abs(a.y - b.y) < 10 && a.left < b.right && b.left < a.right)
          expect.fail(`"${a.text}" and "${b.text}" overlap`);
  }
}

describe('the report of a run', () => {
  test('says in one sentence what was learned and forgotten', () => {
    const { headline, html, md } = reportOf();
    expect(headline).toBe(
      'Domain bits per byte fell from 1.620 to 1.310 (−19.1 %); general rose from 1.100 to 1.107 (+0.6 %, within two standard errors).',
    );
    expect(html).toContain(headline);
    expect(md).toContain(headline);
  });

  test('is one sound file with scores, plan, reasons, warnings, charts and checkpoint', () => {
    const { html, md } = reportOf();
    expectSound(html);
    expectNoOverlap(html);
    for (const text of [
      '1.620',
      '1.310',
      '−0.310 ± 0.006',
      '−19.1 %',
      'Parmar et al. 2024, section 4.2',
      'The domain is read 3.4 times.',
      'avx512bf16',
      'step-00000400',
    ])
      for (const page of [html, md]) expect(page).toContain(text);
    for (const title of [
      'Training loss by corpus',
      'Held-out text: domain against general',
      'Learning rate',
      'Gradient norm',
      'Speed',
      'Blend by phase',
    ])
      expect(html).toContain(title);
    expect(html).toContain('>domain blend</text>');
    expect(md).not.toMatch(/NaN|undefined/);
  });

  test('the penalty of a guard is drawn where the run had one', () => {
    expect(reportOf().html).not.toContain('Penalty on the weights');
    const { html } = reportOf({}, (folder) => {
      const file = path.join(folder, 'metrics.jsonl');
      const steps = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
      const guarded = steps.map((line, i) => `${line.slice(0, -1)},"penalty":${0.05 * (1 - Math.exp(-i / 80))}}\n`);
      fs.writeFileSync(file, guarded.join(''));
      const job = path.join(folder, 'job', 'job.json');
      const guard = { ewc: { strength: 100, fisher: 'fisher.safetensors' } };
      fs.writeFileSync(job, JSON.stringify({ ...JSON.parse(fs.readFileSync(job, 'utf8')), guard }));
    });
    expect(html).toContain('Penalty on the weights');
    expect(html).toContain('What guard.ewc adds to the loss');
    expect(html).toContain('penalty (nats)');
    expectSound(html);
    expectNoOverlap(html);
  });

  test('the forecast half-way stands beside what came, in table and chart', () => {
    const { html, md } = reportOf();
    expect(md).toMatch(/## Forecast\n\n\| held-out set \| forecast for step 400 \| 90 % interval \| came \| inside \|/);
    expect(md).toMatch(/\| handbook \| 1\.\d{3} \| 1\.\d{3} to 1\.\d{3} \| 1\.310 \| yes \|/);
    expect(md).toContain('from what was recorded up to step 200, half-way.');
    expect(html).toContain('class="line expected"');
    expect(html).toContain('Dashed: the forecast made after step 200, with its 90 % interval.');
    expectSound(html);
    expectNoOverlap(html);
  });

  test('a run under way says where it will end, or why that cannot be told', () => {
    const { html, md } = reportOf({ recordedSteps: 230 });
    expect(md).toMatch(/\| held-out set \| forecast for step 400 \| 90 % interval \|\n/);
    expect(md).toMatch(/\| handbook \| 1\.\d{3} \| 1\.\d{3} to 1\.\d{3} \|/);
    expect(html).toContain('class="line expected"');
    expectSound(html);
    expectNoOverlap(html);
    expect(reportOf({ recordedSteps: 10 }).md).toContain(
      'none: less than a third of the run, or than 40 steps, is done',
    );
  });

  test('a run of many steps stays small', () => {
    const { html } = reportOf({ numSteps: 20_000, evalEvery: 1000 });
    expectSound(html);
    expect(html.length).toBeLessThan(200_000);
  });

  test('a run that has only begun is reported as such', () => {
    const { html, headline } = reportOf({ numSteps: 400, recordedSteps: 0 });
    expectSound(html);
    expect(headline).toBe('Scored once so far: nothing to compare yet.');
    expect(html).toContain('The run is unfinished: the last scores are of step 0');
  });

  test('no evaluation at all is said, not hidden', () => {
    const { html, headline } = reportOf({}, (folder) => fs.rmSync(path.join(folder, 'evals'), { recursive: true }));
    expectSound(html);
    expect(headline).toBe('No held-out scores were recorded.');
  });

  test('without general text the page says that forgetting was not measured', () => {
    const { html, headline } = reportOf({}, (folder) => {
      for (const name of fs.readdirSync(path.join(folder, 'evals'))) {
        const file = path.join(folder, 'evals', name);
        const record = JSON.parse(fs.readFileSync(file, 'utf8'));
        delete record.sets.web;
        fs.writeFileSync(file, JSON.stringify(record));
      }
    });
    expect(headline).toBe('Domain bits per byte fell from 1.620 to 1.310 (−19.1 %).');
    expect(html).toContain('this report cannot say what was forgotten');
  });

  test('a loss that became NaN and a torn line are noted', () => {
    const { html } = reportOf({ numSteps: 50 }, (folder) => {
      const file = path.join(folder, 'metrics.jsonl');
      const lines = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
      lines[40] = JSON.stringify({ ...JSON.parse(lines[40]!), loss: null, gradNorm: null });
      fs.writeFileSync(file, `${lines.join('\n')}\n{"step":50,"lo`);
    });
    expectSound(html);
    expect(html).toContain('1 step without a finite loss.');
    expect(html).toContain('1 line of metrics.jsonl');
  });

  test('names from the user are escaped', () => {
    const { html, md } = reportOf({ name: '<img src=x onerror=alert(1)> & "co" | more' });
    expect(html).not.toContain('<img');
    expect(html).toContain('&lt;img');
    expect(md).toContain('# <img src=x');
  });
});

describe('the comparison of runs', () => {
  const recipe = writeRunFolder(path.join(root, 'recipe'), { name: 'recipe' });
  const naive = writeRunFolder(path.join(root, 'naive'), {
    name: 'naive',
    replay: [0, 0],
    constantLr: true,
    domain: (done) => 1.62 - 0.32 * (1 - Math.exp(-5 * done)),
    general: (done) => 1.1 + 0.14 * (1 - Math.exp(-2 * done)),
  });
  const compared = (label: string, folder: string) => {
    const run = readRun(folder);
    return { label, run, summary: summarise(run) };
  };

  test('one table, overlaid charts and the verdict', () => {
    const files = writeComparisonReport(root, {
      title: 'Demo',
      base: 'base',
      runs: [compared('naive', naive), compared('recipe', recipe)],
    });
    const [html, md] = [fs.readFileSync(files.html, 'utf8'), fs.readFileSync(files.md, 'utf8')];
    expectSound(html);
    expectNoOverlap(html);
    expect(files.verdict?.holds).toBe(true);
    for (const page of [html, md]) {
      expect(page).toContain(files.verdict!.sentence);
      expect(page).toContain('+11.0 %');
    }
    expect(md).toContain('| **recipe** | **1.310** |');
  });

  test('a negative verdict heads the page too', () => {
    const files = writeComparisonReport(root, {
      title: 'Demo',
      base: 'base',
      runs: [compared('recipe', recipe), compared('naive', naive)],
    });
    expect(files.verdict?.holds).toBe(false);
    expect(fs.readFileSync(files.html, 'utf8')).toContain('<p class="headline">Does not hold: naive has');
  });
});

describe('what it learned, what it forgot', () => {
  const before = answers(200, 100);
  const learned = before.map((score, i) => (i < 8 ? 0 : i >= 100 && i < 130 ? 1 : score));
  const tasks = (scores: number[]) => [
    { task: 'quiz', scores },
    { task: 'puzzle', scores: answers(80, 40) },
  ];
  const write = (folder: string) => {
    writeResults(path.join(folder, 'evals'), 0, madeResults('base', tasks(before)));
    writeResults(path.join(folder, 'evals'), 400, madeResults('tuned', tasks(learned)));
  };

  test('is said of text and of tasks, with errors, and drawn', () => {
    const { html, md } = reportOf({ documents: true }, write);
    expectSound(html);
    expectNoOverlap(html);
    for (const page of [html, md]) {
      expect(page).toContain('What did it learn, what did it forget, can I believe it?');
      expect(page).toContain(
        'It learned its domain: held-out domain text went from 1.620 to 1.310 bits per byte (−0.310 ± 0.001).',
      );
      expect(page).toContain('It forgot: held-out general text went from 1.100 to 1.107 bits per byte (+0.007 ±');
      expect(page).toMatch(
        /stability gap\): web rose by 0\.03\d ± 0\.00\d+ up to step 200 and came back by 0\.02\d ± 0\.00\d+ until step 400/,
      );
      expect(page).toContain('Step 400 is better than the base on quiz (+11.0 points).');
      expect(page).toContain('Question: number 100 of quiz?');
    }
    expect(html).toContain('id="forest-points"');
    expect(html).toMatch(/web: gap, \+3\.\d %/);
  });

  test('is not claimed without pairs or tasks', () => {
    const { md } = reportOf();
    expect(md).toContain('whose error was not measured in pairs');
    expect(md).toContain('No tasks were put to the model');
    expect(md).not.toContain('stability gap');
  });

  test('names tasks that were put differently instead of comparing them', () => {
    const { md } = reportOf({}, (folder) => {
      writeResults(path.join(folder, 'evals'), 0, madeResults('base', tasks(before)));
      const changed = { task: 'quiz', scores: learned, change: { version: '2' } };
      writeResults(path.join(folder, 'evals'), 400, madeResults('tuned', [changed]));
    });
    expect(md).toContain('quiz: version 1 against 2');
  });
});
