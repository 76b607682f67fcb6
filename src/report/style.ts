// The page's style sheet. Palette after Okabe & Ito (2008), which colour-blind readers tell apart, darkened or lightened until each
// colour has a contrast of at least 3:1 against the page.
const LIGHT: Readonly<Record<string, string>> = {
  page: '#fff',
  text: '#1c1e21',
  muted: '#5d646c',
  grid: '#e7e9ec',
  rule: '#d3d7dc',
  tint: '#f5f6f8',
  'on-bar': '#fff',
  c0: '#0072b2',
  c1: '#d55e00',
  c2: '#00805d',
  c3: '#b0518a',
  c4: '#6b5fc7',
  c5: '#8a6d00',
  c6: '#6b7178',
};

const variables = (palette: typeof LIGHT) =>
  Object.entries(palette)
    .map(([name, color]) => `--${name}:${color}`)
    .join(';');

const CHART_RULES = `
svg{display:block;width:100%;height:auto;font:12px system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow:visible}
svg text{fill:var(--text);font-variant-numeric:tabular-nums}
svg .tick,svg .label{fill:var(--muted)}
svg .end{font-weight:600}
svg .grid{stroke:var(--grid);stroke-width:1;fill:none}
svg .axis{stroke:var(--rule);stroke-width:1;fill:none}
svg .mark{stroke:var(--muted);stroke-width:1;stroke-dasharray:2 3;fill:none}
svg .level{stroke:var(--muted);stroke-width:1.25;stroke-dasharray:6 4;fill:none}
svg .leader{stroke:var(--rule);stroke-width:1;fill:none}
svg .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg .expected{stroke-dasharray:5 4}
svg .raw{fill:none;stroke-width:1;opacity:.28}
svg .band{stroke:none;opacity:.18}
svg .dot{stroke:var(--page);stroke-width:1.5}
`;

/** A chart as a file of its own, light: colours stand in it as they are, since most programs that draw SVG know no variables. */
export function standalone(svg: string): string {
  const rules = CHART_RULES.replace('svg{display:block;width:100%;height:auto;', 'svg{');
  return svg
    .replace('<style></style>', `<style>${rules}</style>`)
    .replaceAll(/var\(--([\w-]+)\)/g, (_, name: string) => LIGHT[name] ?? '#000');
}

export const STYLE = `
:root{color-scheme:light dark;${variables(LIGHT)}}
@media (prefers-color-scheme:dark){:root{--page:#16181c;--text:#e6e8eb;--muted:#9aa2ab;--grid:#2a2e34;--rule:#3a4048;--tint:#1f2227;--on-bar:#111316;
--c0:#56b4e9;--c1:#f28e43;--c2:#3cc79d;--c3:#e79ac6;--c4:#a99cf0;--c5:#e3c34a;--c6:#9aa2ab}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
main{max-width:1108px;margin:0 auto;padding:36px 24px 64px}
h1{font-size:26px;line-height:1.25;margin:0 0 2px;font-weight:650}
h2{font-size:18px;margin:44px 0 10px;font-weight:650}
h3{font-size:15px;margin:28px 0 6px;font-weight:650}
.status{color:var(--muted);margin:0}
.headline{font-size:20px;line-height:1.4;margin:20px 0 6px;max-width:52em}
.answer{max-width:52em;margin:4px 0 18px}
.notes{margin:12px 0 0;padding:0;list-style:none}
.notes li{border-left:3px solid var(--c1);padding:2px 0 2px 12px;margin:8px 0;max-width:70em}
.aside{color:var(--muted);font-size:13.5px;margin:8px 0 0;max-width:70em}
.scroll{overflow-x:auto}
.figures+.scroll{margin-top:24px}
td{min-width:4em}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;min-width:60%}
th,td{text-align:left;padding:6px 14px 6px 0;border-bottom:1px solid var(--grid);vertical-align:top}
th{font-weight:600;font-size:13px;color:var(--muted);border-bottom-color:var(--rule);white-space:nowrap}
td.right,th.right{text-align:right;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}
tr.stress td{font-weight:650}
td.first{white-space:nowrap}
td.source{color:var(--muted);font-size:13.5px;min-width:14em}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:28px 40px}
figure{margin:0;break-inside:avoid}
figcaption{margin:0 0 8px}
figcaption b{font-weight:650}
figcaption span{display:block;color:var(--muted);font-size:13.5px}
.bar-label{margin:8px 0 3px;color:var(--muted);font-size:13px}
.bar{display:flex;gap:1px}
.bar span{min-width:0;height:28px;padding:0 8px;line-height:28px;color:var(--on-bar);font-size:13px;font-weight:600;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
${CHART_RULES}dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 24px;margin:0}
dt{color:var(--muted)}
dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--tint);padding:10px 14px;border-radius:6px;overflow-x:auto;font:13.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:4px 0 14px}
.pitfall{border-left:3px solid var(--rule);padding:2px 0 2px 14px;margin:14px 0;max-width:70em}
.pitfall.error,.pitfall.pitfall{border-left-color:var(--c1)}
.pitfall p{margin:0}
.pitfall .aside{margin:2px 0 0}
details{margin-top:14px}
summary{cursor:pointer;color:var(--muted)}
footer{margin-top:56px;border-top:1px solid var(--grid);padding-top:12px;color:var(--muted);font-size:13.5px}
@media (max-width:640px){main{padding:20px 16px 40px}th,td{padding-right:12px}td.source{min-width:8em}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:8px}}
@media print{:root{color-scheme:light;--page:#fff;--text:#000;--muted:#444;--grid:#e2e2e2;--rule:#bbb;--tint:#f4f4f4;--on-bar:#fff;
--c0:#0072b2;--c1:#d55e00;--c2:#00805d;--c3:#b0518a;--c4:#6b5fc7;--c5:#8a6d00;--c6:#6b7178}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}
body{font-size:10.5pt}main{max-width:none;padding:0}.figures{grid-template-columns:1fr 1fr;gap:18px 24px}
table{font-size:8.5pt;min-width:0}th{font-size:8pt}th,td{padding:4px 9px 4px 0}.scroll{overflow:visible}figcaption span,.aside{font-size:9pt}
h2,h3{break-after:avoid}tr,.pitfall{break-inside:avoid}details{display:none}}
`;
