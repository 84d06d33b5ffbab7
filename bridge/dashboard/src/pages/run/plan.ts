/** The graph of a run: what its pipeline names, with how the tasks that came of it stand. Loops are drawn once. */
import type { PlannedTask, Task } from "../../api/messages";

export const MOST_NODES = 200;

export interface GraphNode {
  path: string;
  name: string;
  kind: PlannedTask["kind"];
  loop: boolean;
  /** The group that it is drawn in; empty at the top. */
  parent: string;
  /** Whether its inner tasks are drawn instead of it. */
  open: boolean;
  inner: number;
  state: string;
  /** How many tasks came of it, by state. */
  counts: ReadonlyMap<string, number>;
  /** One task that came of it, to look at: a failed one first. */
  task: string | null;
}

export interface Graph {
  nodes: GraphNode[];
  edges: { source: string; target: string }[];
}

/** A path without the numbers of iterations. */
export function templatePath(path: string): string {
  return path.replaceAll(/\[\d+\]/g, "");
}

/** What is to be drawn; in a graph of more than `MOST_NODES` groups begin closed. */
export function graphOf(plan: readonly PlannedTask[], tasks: readonly Task[], toggled: ReadonlySet<string>): Graph {
  const named = plan.length > 0 ? plan : planOf(tasks);
  const standing = standings(tasks);
  const inner = new Map<string, number>();
  for (const one of named) for (let up = one.parent; up; up = parentOf(up)) inner.set(up, (inner.get(up) ?? 0) + 1);
  const openAtFirst = named.length <= MOST_NODES;
  const isOpen = (path: string) => (inner.get(path) ?? 0) > 0 && toggled.has(path) !== openAtFirst;
  const drawn = new Set<string>();
  const nodes: GraphNode[] = [];
  for (const one of named) {
    if (one.parent && !(drawn.has(one.parent) && isOpen(one.parent))) continue;
    drawn.add(one.path);
    const counts = standing.get(one.path)?.counts ?? new Map<string, number>();
    nodes.push({
      ...one, open: isOpen(one.path), inner: inner.get(one.path) ?? 0, state: together(counts), counts,
      task: standing.get(one.path)?.task ?? null,
    });
  }
  return { nodes, edges: edgesOf(named.filter((one) => drawn.has(one.path)), new Set(nodes.filter((one) => one.open).map((one) => one.path))) };
}

/** Edges between what is drawn: one to an open group goes to the tasks it begins with, one from it comes from its last. */
function edgesOf(drawn: readonly PlannedTask[], open: ReadonlySet<string>): Graph["edges"] {
  const children = grouped(drawn);
  const waitedFor = new Set(drawn.flatMap((one) => one.after));
  const first = (path: string): string[] => (open.has(path) ? (children.get(path) ?? []).filter((one) => one.after.length === 0).flatMap((one) => first(one.path)) : [path]);
  const last = (path: string): string[] => (open.has(path) ? (children.get(path) ?? []).filter((one) => !waitedFor.has(one.path)).flatMap((one) => last(one.path)) : [path]);
  const known = new Set(drawn.map((one) => one.path));
  return drawn.flatMap((one) =>
    one.after.filter((path) => known.has(path)).flatMap((path) => last(path).flatMap((source) => first(one.path).map((target) => ({ source, target })))),
  );
}

interface Standing {
  counts: Map<string, number>;
  task: string;
}

function standings(tasks: readonly Task[]): Map<string, Standing> {
  const found = new Map<string, Standing>();
  for (const task of tasks) {
    // What a loop's iteration holds counts; the iteration itself is not a task that anybody named.
    if (!task.path || task.iteration !== null) continue;
    const path = templatePath(task.path);
    const before = found.get(path) ?? { counts: new Map<string, number>(), task: task.path };
    before.counts.set(task.state, (before.counts.get(task.state) ?? 0) + 1);
    if (task.state === "FAILED") before.task = task.path;
    found.set(path, before);
  }
  return found;
}

const WORST_FIRST = ["FAILED", "RUNNING", "CANCELING", "PENDING", "PAUSED", "CANCELED", "SUCCEEDED", "SKIPPED"];

function together(counts: ReadonlyMap<string, number>): string {
  return WORST_FIRST.find((state) => counts.has(state)) ?? counts.keys().next().value ?? "";
}

function parentOf(path: string): string {
  const place = path.lastIndexOf(".");
  return place < 0 ? "" : path.slice(0, place);
}

/** Where the compiled pipeline is not known: the tasks that came of it, without what waits for which. */
function planOf(tasks: readonly Task[]): PlannedTask[] {
  const found = new Map<string, PlannedTask>();
  for (const task of tasks) {
    const path = templatePath(task.path);
    if (!path || found.has(path)) continue;
    const kind = task.kind === "dag" || task.kind === "importer" ? task.kind : "container";
    found.set(path, { path, parent: parentOf(path), name: path.slice(path.lastIndexOf(".") + 1), kind, loop: false, after: [] });
  }
  return [...found.values()];
}

function grouped(plan: readonly PlannedTask[]): Map<string, PlannedTask[]> {
  const found = new Map<string, PlannedTask[]>();
  for (const one of plan) found.set(one.parent, [...(found.get(one.parent) ?? []), one]);
  return found;
}
