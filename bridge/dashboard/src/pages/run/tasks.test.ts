import { expect, test } from "vitest";

import type { Task } from "../../api/messages";
import { scaleOf, taskRows, ticks } from "./tasks";

function task(id: string, path: string, parent: string | null, more: Partial<Task> = {}): Task {
  return {
    task_id: id, path, name: path, parent_task_id: parent, kind: "container", iteration: null, state: "SUCCEEDED", cached: false,
    pod_name: null, created_at: null, started_at: null, finished_at: null, error: null, causes: [], inputs: {}, outputs: {}, ...more,
  };
}

const TREE = [
  task("r", "", null, { kind: "dag" }),
  task("b", "load", "r", { created_at: "2026-01-01T00:00:05Z" }),
  task("a", "loop", "r", { created_at: "2026-01-01T00:00:01Z", kind: "dag" }),
  task("c", "loop[0].square", "a", { created_at: "2026-01-01T00:00:02Z", started_at: "2026-01-01T00:00:03Z", finished_at: "2026-01-01T00:00:09Z" }),
];

test("rows are a tree without its root, siblings by when they came", () => {
  const rows = taskRows(TREE, new Set(), 0);
  expect(rows.map((row) => [row.label, row.depth, row.below])).toEqual([["loop", 0, 1], ["square", 1, 0], ["load", 0, 0]]);
  expect(rows[1]?.split).toEqual({ queued: 1000, running: 6000, ongoing: false });
});

test("nothing shows below a closed group", () => {
  expect(taskRows(TREE, new Set(["a"]), 0).map((row) => row.label)).toEqual(["loop", "load"]);
});

test("a task whose parent is not known, or is itself, is not lost", () => {
  const rows = taskRows([task("x", "x", "gone"), task("y", "y", "y")], new Set(), 0);
  expect(rows.map((row) => row.label)).toEqual(["x", "y"]);
});

test("a time line goes from the first moment to the last, and to now while something goes on", () => {
  const begun = Date.parse("2026-01-01T00:00:01Z");
  expect(scaleOf(TREE, begun + 99_000)).toEqual({ from: begun, to: begun + 8000 });
  const going = [...TREE, task("d", "d", "r", { state: "RUNNING", started_at: "2026-01-01T00:00:07Z" })];
  expect(scaleOf(going, begun + 99_000).to).toBe(begun + 99_000);
});

test("marks are few and round", () => {
  expect(ticks({ from: 0, to: 9000 })).toEqual([0, 2000, 4000, 6000, 8000]);
  expect(ticks({ from: 0, to: 40 * 86_400_000 }).length).toBeLessThanOrEqual(7);
});
