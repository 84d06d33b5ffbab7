import { listOf, oneOf } from "../../words/search";

export const VIEWS = ["graph", "list"] as const;
export type View = (typeof VIEWS)[number];

/** What the address of a lineage holds: where it begins, the nodes gone on from, the node looked at, and as what. */
export interface LineageSearch {
  node?: string | undefined;
  open?: string[] | undefined;
  chosen?: string | undefined;
  view?: View | undefined;
}

export function readLineageSearch(given: Record<string, unknown>): LineageSearch {
  const found: LineageSearch = {};
  const node = oneOf(given["node"]);
  const chosen = oneOf(given["chosen"]);
  const open = listOf(given["open"]);
  const view = VIEWS.find((one) => one === oneOf(given["view"]));
  if (node) found.node = node;
  if (open.length > 0) found.open = open;
  if (chosen) found.chosen = chosen;
  return view ? { ...found, view } : found;
}
