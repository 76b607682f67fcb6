// Text coloured by loss, token by token: of one model by its own loss, of two by their difference. Blue and orange are told apart by
// colour-blind readers (Okabe and Ito 2008); strength is what counts, and the figures stand in each token's title.
import { writeFileAtomic } from '../base/files.ts';
import { type LossTable, type Piece, type ScoredDocument, shortName } from '../eval/index.ts';
import { escapeXml } from './chart.ts';
import type { Table } from './content.ts';
import { NONE } from './format.ts';
import { heading, page, section, tableHtml } from './html.ts';

export interface TokenLossPage {
  model: string;
  base?: string;
  seqLen: number;
  tables: LossTable[];
  documents: ScoredDocument[];
}

/** Nats from which the next strength begins: of a difference, and of a loss. */
const STEPS = [0.1, 0.5, 1, 2, 4];
const LOSS_STEPS = [1, 2, 4, 6, 9];
/** Alpha of each strength over the page's own colour: text stays readable on the strongest one. */
const ALPHAS = [0.12, 0.24, 0.38, 0.52, 0.68];

/** From -5 (the base is better by more than the last step) to 5 (the tuned model is); of one model 0 (foreseen) to -5 (a surprise). */
export function strengthOf({ nats, base }: Piece): number {
  const value = base ? base.nats - nats : -nats;
  const steps = base ? STEPS : LOSS_STEPS;
  const strength = steps.filter((step) => Math.abs(value) >= step).length;
  return value < 0 ? -strength : strength;
}

/** Bits per byte by corpus, source, kind of token and so on. */
export function lossTable({ groups, by }: LossTable): Table {
  const right = { align: 'right' as const };
  const compared = groups.some(({ change }) => change);
  return {
    columns: [
      { title: by },
      { title: 'tokens', ...right },
      { title: 'share of the bits', ...right },
      { title: 'bits per byte', ...right },
      { title: 'nats a token', ...right },
      ...(compared ? [{ title: 'base', ...right }, { title: 'change', ...right }, { title: 'real?' }] : []),
    ],
    rows: groups.map(({ name, numTokens, share, bitsPerByte, lossNats, baseBitsPerByte, change }) => [
      name,
      String(numTokens),
      `${(100 * share).toFixed(1)} %`,
      bitsPerByte.toFixed(3),
      lossNats.toFixed(3),
      ...(compared ? changeCells(baseBitsPerByte, change) : []),
    ]),
  };
}

function changeCells(base: number | undefined, change: LossTable['groups'][number]['change']): string[] {
  if (base === undefined || !change) return [NONE, NONE, ''];
  const { difference, stderr, numPairs, p } = change;
  const sign = difference < 0 ? '−' : '+';
  const figure = `${sign}${Math.abs(difference).toFixed(3)}`;
  // One document says nothing about others.
  if (numPairs < 2) return [base.toFixed(3), figure, 'one document'];
  const verdict = p >= 0.05 ? 'unclear' : difference < 0 ? 'better' : 'worse';
  return [base.toFixed(3), `${figure} ± ${stderr.toFixed(3)}`, verdict];
}

/** @param file .html */
export function writeTokenLossPage(file: string, content: TokenLossPage): void {
  const { model, base, tables, documents, seqLen } = content;
  const title =
    base === undefined
      ? `Where the loss of ${shortName(model)} lies`
      : `${shortName(model)} beside ${shortName(base)}, token by token`;
  const compared = base !== undefined;
  const note = compared
    ? 'A change is that of bits per byte, with its standard error over documents, each compared with itself; "real?" is a test of each line by itself at 0.05.'
    : 'Bits per byte of each group: its share of the text and of the bits may differ much.';
  writeFileAtomic(
    file,
    page(title, [
      `<style>${TOKEN_STYLE}</style>`,
      heading(title, `windows of ${seqLen} tokens; ${base === undefined ? model : `${model} beside ${base}`}`, ''),
      section(
        'Where the loss lies',
        `${tables.map((table) => `<h3>By ${table.by}</h3>${tableHtml(lossTable(table))}`).join('')}<p class="aside">${note}</p>`,
      ),
      section('The text', `${legend(compared)}${documents.map((document) => documentHtml(document)).join('')}`),
    ]),
  );
}

const RULES = ALPHAS.map(
  (alpha, i) =>
    `.w${i + 1}{background:color-mix(in srgb,var(--c1) ${100 * alpha}%,transparent)}.b${i + 1}{background:color-mix(in srgb,var(--c0) ${100 * alpha}%,transparent)}`,
).join('\n');

const TOKEN_STYLE = `.tokens{white-space:pre-wrap;overflow-wrap:anywhere;font:14px/1.75 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:6px 0 22px;max-width:100ch}
.tokens span{padding:2px 0;border-radius:2px}
.tokens span:hover{outline:1.5px solid var(--text)}
.legend{display:flex;flex-wrap:wrap;gap:2px;align-items:center;color:var(--muted);font-size:13.5px}
.legend span{padding:1px 8px;color:var(--text)}
.legend b{font-weight:400;margin:0 8px}
${RULES}`;

function legend(compared: boolean): string {
  const steps = compared ? STEPS : LOSS_STEPS;
  const swatch = (kind: string, i: number): string => `<span class="${kind}${i + 1}">${steps[i]}</span>`;
  const range = steps.map((_, i) => i);
  return compared
    ? `<p class="legend"><b>the base is better by nats:</b>${range
        .toReversed()
        .map((i) => swatch('w', i))
        .join(
          '',
        )}<b>the same</b>${range.map((i) => swatch('b', i)).join('')}<b>the tuned model is better. Point at a token for both losses.</b></p>`
    : `<p class="legend"><b>nats of loss:</b><span>less</span>${range.map((i) => swatch('w', i)).join('')}<b>Point at a token for what was expected there.</b></p>`;
}

function documentHtml({ corpus, source, pieces }: ScoredDocument): string {
  const nats = pieces.reduce((sum, piece) => sum + piece.nats, 0);
  const bytes = pieces.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0);
  const name = source && source !== corpus ? `${corpus}: ${source}` : corpus;
  const figure = `${(nats / Math.LN2 / bytes).toFixed(3)} bits per byte`;
  return `<h3>${escapeXml(name)}, ${figure}</h3><div class="tokens">${pieces.map(pieceHtml).join('')}</div>`;
}

function pieceHtml(piece: Piece): string {
  const strength = strengthOf(piece);
  const name = strength === 0 ? '' : ` class="${strength < 0 ? 'w' : 'b'}${Math.abs(strength)}"`;
  return `<span${name} title="${escapeXml(describePiece(piece))}">${escapeXml(piece.text)}</span>`;
}

/** Both losses, and what either model would rather have read. */
function describePiece({ nats, base, likeliest }: Piece): string {
  const guess = (found: Piece['likeliest']): string =>
    found ? `, likeliest ${JSON.stringify(found.text)} ${(100 * found.probability).toFixed(0)} %` : '';
  const own = `${nats.toFixed(2)} nats${guess(likeliest)}`;
  return base ? `tuned ${own}\nbase ${base.nats.toFixed(2)} nats${guess(base.likeliest)}` : own;
}

/** 256-colour backgrounds of increasing strength, with black letters on them. */
const ORANGE = [230, 223, 216, 209, 208];
const BLUE = [195, 153, 117, 75, 39];

/** The same text for a terminal; without colour, what changed much stands in brackets: [-worse-] and {+better+}. */
export function tokenText(pieces: readonly Piece[], colored: boolean): string {
  return pieces
    .map((piece) => {
      const strength = strengthOf(piece);
      if (strength === 0) return piece.text;
      const palette = strength < 0 ? ORANGE : BLUE;
      const at = Math.abs(strength) - 1;
      if (!colored) return at < 2 ? piece.text : strength < 0 ? `[-${piece.text}-]` : `{+${piece.text}+}`;
      // Line ends stay outside: a background runs on to the edge of the terminal otherwise.
      return piece.text.replace(/[^\n]+/g, (text) => `\x1b[30;48;5;${palette[at]}m${text}\x1b[0m`);
    })
    .join('');
}
