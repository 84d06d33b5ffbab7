/** The lineage that is known so far: several answers put together, and what of it is drawn. */
import type { LineageGraph, LineageNode } from "../../api/messages";
import { shortType, spaced } from "../../words/text";
import type { IconName } from "../../parts/Icon";

export interface Edge {
  source: string;
  target: string;
  name: string;
}

/** Which way a node lies from where the lineage begins: what it came from, what came of it, or neither. */
export type Side = "start" | "up" | "down" | "beside";

export interface Pool {
  start: string;
  nodes: Map<string, LineageNode>;
  edges: Edge[];
  /** Nodes of which more is stored than has been asked for. */
  open: Set<string>;
  sides: Map<string, { side: Side; steps: number }>;
  /** What directly leads to a node. */
  before: (id: string) => LineageNode[];
}

const FIRST_DRAWN = 60;
const MORE_DRAWN = 40;

/** The answers as one graph; the first is the one around the start, the others are around nodes gone on from. */
export function poolOf(start: string, graphs: readonly LineageGraph[]): Pool {
  const nodes = new Map<string, LineageNode>();
  const edges = new Map<string, Edge>();
  const whole = new Set<string>();
  const open = new Set<string>();
  for (const graph of graphs) {
    const frontier = new Set(graph.frontier);
    for (const node of graph.nodes) {
      if (!nodes.has(node.id)) nodes.set(node.id, node);
      if (frontier.has(node.id)) open.add(node.id);
      else if (graph === graphs[0] || node.depth === 0) whole.add(node.id);
    }
    for (const edge of graph.edges) edges.set(`${edge.source} ${edge.target} ${edge.name}`, edge);
  }
  const known = [...edges.values()];
  const sources = new Map<string, LineageNode[]>();
  for (const { source, target } of known) sources.set(target, [...(sources.get(target) ?? []), nodes.get(source)].filter((one) => one !== undefined));
  return { start, nodes, edges: known, open: new Set([...open].filter((id) => !whole.has(id))), sides: sidesOf(start, nodes, known), before: (id) => sources.get(id) ?? [] };
}

function sidesOf(start: string, nodes: ReadonlyMap<string, LineageNode>, edges: readonly Edge[]): Pool["sides"] {
  const found: Pool["sides"] = new Map([[start, { side: "start", steps: 0 }]]);
  for (const [side, near, far] of [["up", "target", "source"], ["down", "source", "target"]] as const) {
    let level = new Set([start]);
    for (let steps = 1; level.size > 0; steps += 1) {
      const next = new Set<string>();
      for (const edge of edges) {
        if (!level.has(edge[near]) || found.has(edge[far])) continue;
        found.set(edge[far], { side, steps });
        next.add(edge[far]);
      }
      level = next;
    }
  }
  for (const id of nodes.keys()) if (!found.has(id)) found.set(id, { side: "beside", steps: 0 });
  return found;
}

export interface Drawn {
  nodes: LineageNode[];
  edges: Edge[];
  /** Nodes with neighbours that are not drawn, or not asked for. */
  more: Set<string>;
}

/** What is drawn: the nearest nodes, and the neighbours of those that were gone on from. */
export function drawnOf(pool: Pool, opened: readonly string[]): Drawn {
  const shown = new Set([...pool.nodes.values()].sort((a, b) => a.depth - b.depth).slice(0, FIRST_DRAWN).map((node) => node.id));
  for (const id of opened) {
    neighbours(pool, id).filter((one) => !shown.has(one)).slice(0, MORE_DRAWN).forEach((one) => shown.add(one));
  }
  const edges = pool.edges.filter((edge) => shown.has(edge.source) && shown.has(edge.target) && !isRoundabout(pool, edge));
  const more = new Set([...pool.open].filter((id) => shown.has(id)));
  for (const edge of pool.edges) {
    if (shown.has(edge.source) !== shown.has(edge.target)) more.add(shown.has(edge.source) ? edge.source : edge.target);
  }
  return { nodes: [...pool.nodes.values()].filter((node) => shown.has(node.id)), edges, more };
}

/** A run leads to each of its tasks; to one that reads what another of them made the way goes through that one. */
function isRoundabout(pool: Pool, edge: Edge): boolean {
  const [run, task] = [pool.nodes.get(edge.source), pool.nodes.get(edge.target)];
  if (run?.kind !== "run" || task?.kind !== "task") return false;
  const ofTheRun = (id: string) => pool.before(id).some((one) => one.kind === "task" && one.run_id === run.run_id);
  return pool.before(task.id).some((one) => one.kind === "artifact" && ofTheRun(one.id));
}

export function neighbours(pool: Pool, id: string): string[] {
  return [...new Set(pool.edges.flatMap((edge) => (edge.source === id ? [edge.target] : edge.target === id ? [edge.source] : [])))];
}

const URI_PARTS = 3;

/** What a node is called where there is little room. */
export function nameOf(node: LineageNode): string {
  if (node.kind !== "dataset") return node.name;
  const parts = node.name.replace(/^\w+:\/\/+/, "").split("/");
  return parts.length > URI_PARTS ? `…/${parts.slice(-URI_PARTS).join("/")}` : node.name;
}

export const KINDS = ["job_run", "dataset", "run", "task", "model", "artifact"] as const;
export type Kind = (typeof KINDS)[number];
export const KIND_TITLES: Record<Kind, string> = {
  job_run: "Airflow tasks", dataset: "Data", run: "KFP runs", task: "KFP tasks", model: "Models", artifact: "Other artifacts",
};
export const KIND_ICONS: Record<Kind, IconName> = { job_run: "job", dataset: "data", run: "run", task: "task", model: "model", artifact: "artifact" };

/** The kind of a node as people tell it; a model is more to them than an artifact. */
export function kindOf(node: LineageNode): Kind {
  return node.kind === "artifact" && node.type !== null && shortType(node.type).toLowerCase().includes("model") ? "model" : node.kind;
}

export function kindWord(node: LineageNode): string {
  const words: Record<Kind, string> = { job_run: "Airflow task", dataset: "data", run: "KFP run", task: "KFP task", model: "model", artifact: "artifact" };
  return words[kindOf(node)];
}

/** What stands below a node's name. */
export function secondOf(node: LineageNode): string {
  const short = node.version?.slice(0, 8);
  switch (node.kind) {
    case "dataset": return short ? `version ${short}` : "version not known";
    case "job_run": return node.dag_run_id ?? "run not known";
    case "run": return node.type ?? "";
    case "task": return node.state ? spaced(node.state).toLowerCase() : "";
    default: return node.type ? shortType(node.type) : "";
  }
}

/** Where a node lies, in words. */
export function whereOf({ side, steps }: { side: Side; steps: number }): string {
  if (side === "start") return "the start";
  if (side === "beside") return "beside";
  return `${steps} ${side}`;
}
