/** The tasks of a run as a tree of rows, and where each lies on the run's time line. */
import type { Task } from "../../api/messages";
import { splitOf, type Split } from "../../words/run";

export interface TaskRow {
  task: Task;
  label: string;
  depth: number;
  /** How many tasks lie below it. */
  below: number;
  split: Split | null;
}

/** The tasks below the root as a tree, parents first, siblings by when they came; below `closed` ones nothing. */
export function taskRows(tasks: readonly Task[], closed: ReadonlySet<string>, now: number): TaskRow[] {
  const known = new Set(tasks.map((task) => task.task_id));
  const children = new Map<string | null, Task[]>();
  for (const task of tasks) {
    const up = task.parent_task_id;
    const parent = up !== null && up !== task.task_id && known.has(up) ? up : null;
    children.set(parent, [...(children.get(parent) ?? []), task]);
  }
  for (const siblings of children.values()) siblings.sort((a, b) => begin(a) - begin(b));
  const sizes = new Map<string, number>();
  const size = (id: string): number => {
    const before = sizes.get(id);
    if (before !== undefined) return before;
    sizes.set(id, 0);
    const all = (children.get(id) ?? []).reduce((sum, child) => sum + 1 + size(child.task_id), 0);
    sizes.set(id, all);
    return all;
  };
  const rows: TaskRow[] = [];
  const visit = (task: Task, depth: number) => {
    if (task.path) {
      rows.push({ task, label: labelOf(task), depth, below: size(task.task_id), split: splitOf(task, isOver(task), now) });
    }
    if (task.path && closed.has(task.task_id)) return;
    for (const child of children.get(task.task_id) ?? []) visit(child, task.path ? depth + 1 : depth);
  };
  for (const task of children.get(null) ?? []) visit(task, 0);
  return rows;
}

/** The last name of a path; a loop's iteration keeps its number. */
export function labelOf(task: Task): string {
  return task.path.slice(task.path.lastIndexOf(".") + 1) || task.name;
}

const OVER = new Set(["SUCCEEDED", "FAILED", "CANCELED", "SKIPPED"]);

export function isOver(task: Task): boolean {
  return OVER.has(task.state);
}

function begin(task: Task): number {
  const moment = task.created_at ?? task.started_at;
  return moment ? Date.parse(moment) : Number.MAX_SAFE_INTEGER;
}

/** From when to when a time line goes, in milliseconds since 1970; at least 400. */
export interface Scale {
  from: number;
  to: number;
}

export function scaleOf(tasks: readonly Task[], now: number): Scale {
  let from = Infinity;
  let to = -Infinity;
  for (const task of tasks) {
    for (const moment of [task.created_at, task.started_at, task.finished_at]) {
      if (moment) [from, to] = [Math.min(from, Date.parse(moment)), Math.max(to, Date.parse(moment))];
    }
    if (!isOver(task)) to = Math.max(to, now);
  }
  return Number.isFinite(from) ? { from, to: Math.max(to, from + 400) } : { from: now - 1000, to: now };
}

/** Round moments to mark on a time line, in milliseconds from its beginning: at most `most` of them. */
export function ticks(scale: Scale, most = 6): number[] {
  const length = scale.to - scale.from;
  const step = STEPS.find((one) => length / one <= most) ?? Math.ceil(length / most / 86_400_000) * 86_400_000;
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, index) => index * step);
}

const STEPS = [
  100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000, 3_600_000,
  7_200_000, 14_400_000, 43_200_000, 86_400_000,
];
