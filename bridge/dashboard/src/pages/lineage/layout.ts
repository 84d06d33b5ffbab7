/** Where the nodes of a lineage are drawn: in the direction in which the data flowed. */
import dagre from "@dagrejs/dagre";

import type { Drawn } from "./graph";

export const NODE = { width: 264, height: 56 };

export interface Place {
  x: number;
  y: number;
}

export type Direction = "LR" | "TB";

export interface Layout {
  places: Map<string, Place>;
  /** From left to right or from top to bottom, whichever shows the nodes larger. */
  direction: Direction;
  /** How large the nodes are if all of them are to be seen, 1 at most. */
  scale: number;
}

/** The room that a graph has at a desk. */
const ROOM = { width: 900, height: 560 };

export function layout(drawn: Drawn): Layout {
  const [across, down] = [arrange(drawn, "LR"), arrange(drawn, "TB")];
  return across.scale >= down.scale ? across : down;
}

function arrange({ nodes, edges }: Drawn, direction: Direction): Layout {
  const drawing = new dagre.graphlib.Graph();
  drawing.setGraph({ rankdir: direction, nodesep: 18, ranksep: direction === "LR" ? 56 : 40, marginx: 8, marginy: 8 });
  drawing.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) drawing.setNode(node.id, { ...NODE });
  for (const { source, target } of edges) drawing.setEdge(source, target);
  dagre.layout(drawing);
  const { width = 1, height = 1 } = drawing.graph() as { width?: number; height?: number };
  const places = new Map(nodes.map((node) => {
    const { x, y } = drawing.node(node.id) as Place;
    return [node.id, { x: x - NODE.width / 2, y: y - NODE.height / 2 }];
  }));
  return { places, direction, scale: Math.min(1, ROOM.width / width, ROOM.height / height) };
}

/** The nearest node in a direction, for the arrow keys: on the axis first, then by distance. */
export function toward(places: ReadonlyMap<string, Place>, from: string, key: string): string | null {
  const here = places.get(from);
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  if (!here || !step) return null;
  const [right = 0, down = 0] = step;
  let best: { id: string; far: number } | null = null;
  for (const [id, place] of places) {
    const [x, y] = [place.x - here.x, place.y - here.y];
    const along = x * right + y * down;
    if (id === from || along <= 1) continue;
    const aside = Math.abs(x * down + y * right);
    const far = along + 3 * aside;
    if (!best || far < best.far) best = { id, far };
  }
  return best?.id ?? null;
}
