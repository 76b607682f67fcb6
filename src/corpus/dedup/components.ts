// Connected components of a graph whose edges, and even whose nodes, need not fit into memory: alternating large-star and small-star
// (Kiveris et al. 2014, "Connected Components in MapReduce and Beyond"), each of them one sort and one sequential pass. Union-find would need
// a random access an edge into an array of all documents: 1 GB for the 250 million of a 500 GB corpus.
import { RecordSorter, type SortSpace } from './record-sorter.ts';

export class Components {
  private readonly space: SortSpace;
  /** Each edge in both directions. */
  private edges: RecordSorter;

  constructor(space: SortSpace) {
    this.space = space;
    this.edges = new RecordSorter(2, space);
  }

  addEdge(a: number, b: number): void {
    if (a === b) return;
    this.edges.push2(a, b);
    this.edges.push2(b, a);
  }

  /** Joins what is connected. To be called once, when all edges are in. */
  connect(): void {
    for (;;) {
      const large = new RecordSorter(2, this.space);
      const isDone = this.largeStar(large);
      if (isDone) {
        large.close();
        return;
      }
      this.edges.close();
      this.edges = new RecordSorter(2, this.space);
      this.smallStar(large);
      large.close();
    }
  }

  /** Hooks each node's larger neighbours to its least one, or to itself. Whether the graph was stars around their least nodes already. */
  private largeStar(target: RecordSorter): boolean {
    let isForest = true;
    let [node, previous, least, numSmaller] = [-1, -1, -1, 0];
    for (const block of this.edges.blocks())
      for (let i = 0; i < block.length; i += 2) {
        const [from, to] = [block[i], block[i + 1]];
        if (from !== node) {
          [node, previous, numSmaller] = [from, -1, 0];
          least = Math.min(from, to);
        }
        if (to === previous) continue;
        previous = to;
        if (to < from) {
          if (++numSmaller > 1) isForest = false;
          continue;
        }
        if (numSmaller > 0) isForest = false;
        target.push2(to, least);
      }
    return isForest;
  }

  /** Hooks each node and its smaller neighbours to the least of them. `edges` hold the larger node first. */
  private smallStar(edges: RecordSorter): void {
    let [node, previous, least] = [-1, -1, -1];
    for (const block of edges.blocks())
      for (let i = 0; i < block.length; i += 2) {
        const [from, to] = [block[i], block[i + 1]];
        if (from !== node) {
          [node, previous, least] = [from, to, to];
          this.addEdge(from, to);
        } else if (to !== previous) {
          previous = to;
          this.addEdge(to, least);
        }
      }
  }

  /** After connect(): every node but the least of its component, ascending, with that one. May be called more than once. */
  *roots(): Generator<{ node: number; root: number }> {
    let [lastNode, lastRoot] = [-1, -1];
    for (const block of this.edges.blocks())
      for (let i = 0; i < block.length; i += 2) {
        const [node, root] = [block[i], block[i + 1]];
        if (root > node || (node === lastNode && root === lastRoot)) continue;
        [lastNode, lastRoot] = [node, root];
        yield { node, root };
      }
  }

  close(): void {
    this.edges.close();
  }
}
