// A corpus as a map: a dot a document, near ones near each other, coloured by topic, with the words of the largest clusters, and the
// documents of the target marked. A picture that stands alone.
import type { MapPoint, SelectedCluster } from '../corpus/index.ts';
import { escapeXml, round, textWidth } from './chart.ts';
import { standalone } from './style.ts';

const [WIDTH, HEIGHT] = [960, 700];
const BOX = { left: 24, right: WIDTH - 24, top: 60, bottom: HEIGHT - 44 };
/** Topics with a colour of their own: the largest. */
const NUM_COLORS = 6;
const OTHER_COLOR = 6;
const MAX_LABELS = 30;
const LABEL_WORDS = 3;
/** Documents of a cluster on the map below which it is not named. */
const MIN_POINTS = 4;
const LINE = 15;

export interface ClusterMap {
  title: string;
  points: readonly MapPoint[];
  clusters: readonly Pick<SelectedCluster, 'cluster' | 'topic' | 'words'>[];
}

interface Placed {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

/** An SVG file. */
export function clusterMap({ title, points, clusters }: ClusterMap): string {
  const place = placing(points);
  const dots = points.filter(({ isTarget }) => !isTarget);
  const targets = points.filter(({ isTarget }) => isTarget);
  const parts = [
    ...dots.map((point) => {
      const { x, y } = place(point);
      return `<circle cx="${x}" cy="${y}" r="3" style="fill:var(--c${colorOf(point.topic)});opacity:.5"/>`;
    }),
    ...targets.map((point) => diamond(place(point))),
    ...labels(points, clusters, place),
  ];
  return standalone(
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img">`,
      `<title>${escapeXml(title)}</title><style></style>`,
      '<rect width="100%" height="100%" style="fill:var(--page)"/>',
      `<text x="${BOX.left}" y="30" style="font-size:15px;font-weight:650">${escapeXml(title)}</text>`,
      ...parts,
      legend(dots.length, targets.length),
      '</svg>',
    ].join(''),
  );
}

const colorOf = (topic: number): number => (topic < NUM_COLORS ? topic : OTHER_COLOR);

interface Place {
  x: number;
  y: number;
}

/** One scale for both axes, about the middle. */
function placing(points: readonly MapPoint[]): (point: MapPoint) => Place {
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const ends = (values: number[]) => [Math.min(...values), Math.max(...values)] as const;
  const [[left, right], [top, bottom]] = [ends(xs), ends(ys)];
  const scale = Math.min(
    (BOX.right - BOX.left) / Math.max(right - left, 1e-9),
    (BOX.bottom - BOX.top) / Math.max(bottom - top, 1e-9),
  );
  return ({ x, y }) => ({
    x: round((BOX.left + BOX.right) / 2 + (x - (left + right) / 2) * scale),
    y: round((BOX.top + BOX.bottom) / 2 + (y - (top + bottom) / 2) * scale),
  });
}

function diamond({ x, y }: Place): string {
  return `<path d="M${x} ${round(y - 4.5)}l4.5 4.5l-4.5 4.5l-4.5 -4.5Z" style="fill:var(--page);stroke:var(--text);stroke-width:1.25"/>`;
}

/** The largest clusters first, each at the nearest place to its middle that no other label takes; without such a place, not at all. */
function labels(
  points: readonly MapPoint[],
  clusters: ClusterMap['clusters'],
  place: (point: MapPoint) => Place,
): string[] {
  const members = new Map<number, MapPoint[]>();
  for (const point of points) members.set(point.cluster, [...(members.get(point.cluster) ?? []), point]);
  const taken: Placed[] = [];
  const texts: string[] = [];
  const named = clusters
    .filter(({ cluster, words }) => words.length > 0 && (members.get(cluster)?.length ?? 0) >= MIN_POINTS)
    .toSorted((a, b) => members.get(b.cluster)!.length - members.get(a.cluster)!.length || a.cluster - b.cluster);
  for (const { cluster, topic, words } of named) {
    if (texts.length === MAX_LABELS) break;
    const text = words.slice(0, LABEL_WORDS).join(' ');
    const middle = middleOf(members.get(cluster)!.map(place));
    const box = freePlace(middle, textWidth(text), taken);
    if (!box) continue;
    taken.push(box);
    const at = `x="${round((box.left + box.right) / 2)}" y="${round(box.bottom - 4)}" text-anchor="middle" class="end"`;
    // A halo under the letters: not every program that draws SVG knows paint-order.
    texts.push(
      `<text ${at} style="stroke:var(--page);stroke-width:4;stroke-linejoin:round;opacity:.85">${escapeXml(text)}</text>` +
        `<text ${at} style="fill:var(--c${colorOf(topic)})">${escapeXml(text)}</text>`,
    );
  }
  return texts;
}

/** The place with as many others on one side as on the other, along each axis: strays do not move it. */
function middleOf(places: readonly Place[]): Place {
  const median = (values: number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
  return { x: median(places.map(({ x }) => x)), y: median(places.map(({ y }) => y)) };
}

function freePlace({ x, y }: Place, width: number, taken: readonly Placed[]): Placed | undefined {
  for (const [dx, dy] of SHIFTS) {
    const middle = Math.min(Math.max(x + dx, BOX.left + width / 2), BOX.right - width / 2);
    const box = {
      left: middle - width / 2,
      right: middle + width / 2,
      top: y + dy - LINE / 2,
      bottom: y + dy + LINE / 2,
    };
    if (box.top < BOX.top - LINE || box.bottom > BOX.bottom + LINE / 2) continue;
    if (taken.every((other) => !overlap(box, other))) return box;
  }
  return undefined;
}

const SHIFTS: readonly (readonly [number, number])[] = [0, 1, -1, 2, -2].flatMap((row) =>
  [0, 40, -40].map((dx) => [dx, row * LINE] as const),
);

function overlap(a: Placed, b: Placed): boolean {
  return a.left < b.right + 6 && b.left < a.right + 6 && a.top < b.bottom && b.top < a.bottom;
}

function legend(numDots: number, numTargets: number): string {
  const y = HEIGHT - 16;
  const text = `${numDots} documents of the corpus, coloured by topic; words: its largest clusters`;
  const dot = `<circle cx="${BOX.left + 4}" cy="${y - 4}" r="3" style="fill:var(--c0);opacity:.6"/><text class="label" x="${BOX.left + 14}" y="${y}">${text}</text>`;
  if (numTargets === 0) return dot;
  const x = BOX.left + 14 + textWidth(text) + 24;
  return `${dot}${diamond({ x, y: y - 4 })}<text class="label" x="${x + 10}" y="${y}">${numTargets} documents of the target</text>`;
}
