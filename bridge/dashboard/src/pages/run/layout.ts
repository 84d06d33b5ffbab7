/** Where the nodes of a graph are drawn: dagre lays out leaves and closed groups, open groups lie around theirs. */
import dagre from "@dagrejs/dagre";

import type { Graph } from "./plan";

export const NODE = { width: 220, height: 58 };
const PADDING = 16;
const TITLE = 30;

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** From left to right, or from the top down where there is no width for it. */
export type Direction = "LR" | "TB";

/** The box of each node, by path, in one plane; those of open groups hold those of what is in them. */
export function layout(graph: Graph, direction: Direction): Map<string, Box> {
  const drawing = new dagre.graphlib.Graph({ compound: true });
  drawing.setGraph({ rankdir: direction, nodesep: 28, ranksep: 56, marginx: 8, marginy: 8 });
  drawing.setDefaultEdgeLabel(() => ({}));
  for (const node of graph.nodes) {
    drawing.setNode(node.path, node.open ? {} : { ...NODE });
    if (node.parent) drawing.setParent(node.path, node.parent);
  }
  for (const { source, target } of graph.edges) drawing.setEdge(source, target);
  dagre.layout(drawing);
  const boxes = new Map<string, Box>();
  // Children come after their groups, so a walk from the end sees all that a group holds before the group.
  for (const node of graph.nodes.toReversed()) {
    if (!node.open) {
      const { x, y } = drawing.node(node.path) as { x: number; y: number };
      boxes.set(node.path, { x: x - NODE.width / 2, y: y - NODE.height / 2, ...NODE });
      continue;
    }
    const held = graph.nodes.filter((one) => one.parent === node.path).flatMap((one) => boxes.get(one.path) ?? []);
    boxes.set(node.path, around(held));
  }
  return boxes;
}

function around(boxes: readonly Box[]): Box {
  const x = Math.min(...boxes.map((box) => box.x)) - PADDING;
  const y = Math.min(...boxes.map((box) => box.y)) - PADDING - TITLE;
  const right = Math.max(...boxes.map((box) => box.x + box.width)) + PADDING;
  const bottom = Math.max(...boxes.map((box) => box.y + box.height)) + PADDING;
  return { x, y, width: right - x, height: bottom - y };
}
