// The methods compared. `config`: what one adds to the same configuration. Not trained for themselves: `of` with `readsEma`, the average of another
// method's weights, and `of` with `merge`, that method's model and the base by `continuo merge`, at a scale; `twoSeeds`: two models of it.
const replay = (share) => ({ phases: [{ blend: { domain: 1 - share, general: share } }] });
const quarter = replay(0.25);
const keepsEma = { training: { ema: 0.92 } };
const lr = (label, lrFactor) => ({ label, isLr: true, config: { lrFactor } });
const lora = (rank) => ({ label: `LoRA, rank ${rank}`, config: { lrFactor: 4, training: { lora: { rank } } } });
const mixing = (method) => ({ ...quarter, mixing: { method, every: 4, warmup: 4, minReplay: 0.05 } });
const wise = (of, scale) => ({ of, merge: ['--method', 'linear'], scale });
const twoOf = (of, scale, ...merge) => ({ of, twoSeeds: true, scale, merge: ['--method', ...merge] });

/** Colours of the picture. */
const FAMILIES = [
  [
    6,
    {
      none: { label: 'none', isLr: true, config: keepsEma },
      'lr-2': lr('half of the LR', 1 / 2),
      'lr-3': lr('a third of the LR', 1 / 3),
    },
  ],
  [
    0,
    {
      'replay-1': { label: 'replay 1 %', config: replay(0.01) },
      'replay-5': { label: 'replay 5 %', config: replay(0.05) },
      'replay-25': { label: 'replay 25 %', config: { ...quarter, ...keepsEma } },
      'front-loaded': {
        label: 'replay 50 % for a tenth of the run',
        config: {
          phases: [{ blend: { domain: 0.5, general: 0.5 } }, { blend: { domain: 1 }, begins: { tokens: 0.1 } }],
        },
      },
      generated: {
        label: 'replay 25 %, written by the base',
        config: {
          corpora: { written: { generated: { tokens: 18_000 }, role: 'general' } },
          phases: [{ blend: { domain: 0.75, written: 0.25 } }],
        },
      },
      odm: { label: 'ODM from 25 %', config: mixing('odm') },
    },
  ],
  [
    3,
    {
      ewc: { label: 'EWC', config: { guard: { ewc: {} } } },
      'ewc-replay': { label: 'EWC, replay 25 %', config: { ...quarter, guard: { ewc: {} } } },
      'ewc-wise-75': { label: 'EWC, WiSE-FT 0.75', ...wise('ewc', 0.75) },
      'ewc-wise-50': { label: 'EWC, WiSE-FT 0.5', ...wise('ewc', 0.5) },
      'ewc-replay-wise': { label: 'EWC, replay 25 %, WiSE-FT 0.75', ...wise('ewc-replay', 0.75) },
      l2: { label: 'L2-SP', config: { guard: { l2: { toward: 'base' } } } },
    },
  ],
  [
    4,
    {
      lwf: { label: 'LwF (distilled on new text)', config: { guard: { distill: { on: 'new' } } } },
      distill: { label: 'replay 25 %, distilled', config: { ...quarter, guard: { distill: { on: 'general' } } } },
    },
  ],
  [5, { 'lora-8': lora(8), 'lora-32': lora(32), 'lora-128': lora(128) }],
  [
    1,
    {
      ema: { label: 'EMA 0.92', of: 'none', readsEma: true },
      'wise-75': { label: 'WiSE-FT 0.75', ...wise('none', 0.75) },
      'wise-50': { label: 'WiSE-FT 0.5', ...wise('none', 0.5) },
      'wise-25': { label: 'WiSE-FT 0.25', ...wise('none', 0.25) },
      soup: { label: 'soup of two', ...twoOf('none', 1, 'task-arithmetic', '--weights', '0.5,0.5') },
      ties: { label: 'TIES of two', ...twoOf('none', 1, 'ties', '--density', '0.5') },
      'dare-ties': { label: 'DARE-TIES of two', ...twoOf('none', 1, 'dare-ties', '--drop', '0.5') },
    },
  ],
];

export const METHODS = Object.fromEntries(
  FAMILIES.flatMap(([color, methods]) => Object.entries(methods).map(([name, method]) => [name, { ...method, color }])),
);
