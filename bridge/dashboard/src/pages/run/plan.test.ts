import { expect, test } from "vitest";

import type { PlannedTask, Task } from "../../api/messages";
import { graphOf, MOST_NODES } from "./plan";

function planned(path: string, after: string[] = [], kind: PlannedTask["kind"] = "container"): PlannedTask {
  const place = path.lastIndexOf(".");
  return { path, parent: place < 0 ? "" : path.slice(0, place), name: path.slice(place + 1), kind, loop: false, after };
}

function ran(path: string, state: string, iteration: number | null = null): Task {
  return { path, state, iteration, kind: "container" } as Task;
}

const PLAN = [planned("load"), planned("loop", ["load"], "dag"), planned("loop.a"), planned("loop.b", ["loop.a"]), planned("report", ["loop"])];

test("edges of an open group go to its first tasks and come from its last", () => {
  const { nodes, edges } = graphOf(PLAN, [], new Set());
  expect(nodes.map((one) => one.path)).toEqual(["load", "loop", "loop.a", "loop.b", "report"]);
  expect(edges).toEqual([
    { source: "load", target: "loop.a" },
    { source: "loop.a", target: "loop.b" },
    { source: "loop.b", target: "report" },
  ]);
});

test("a closed group is one node", () => {
  const { nodes, edges } = graphOf(PLAN, [], new Set(["loop"]));
  expect(nodes.map((one) => one.path)).toEqual(["load", "loop", "report"]);
  expect(edges).toEqual([{ source: "load", target: "loop" }, { source: "loop", target: "report" }]);
});

test("in a large graph groups begin closed", () => {
  const many = Array.from({ length: MOST_NODES }, (_, index) => planned(`loop.${index}`));
  expect(graphOf([planned("loop", [], "dag"), ...many], [], new Set()).nodes).toHaveLength(1);
  expect(graphOf([planned("loop", [], "dag"), ...many], [], new Set(["loop"])).nodes).toHaveLength(MOST_NODES + 1);
});

test("what came of a task in a loop stands together, the worst first", () => {
  const tasks = [ran("loop[0]", "SUCCEEDED", 0), ran("loop[0].a", "SUCCEEDED"), ran("loop[1].a", "FAILED")];
  const node = graphOf(PLAN, tasks, new Set()).nodes.find((one) => one.path === "loop.a");
  expect([node?.state, node?.task, node?.counts.get("SUCCEEDED")]).toEqual(["FAILED", "loop[1].a", 1]);
});

test("without the compiled pipeline the tasks themselves are drawn", () => {
  expect(graphOf([], [ran("g", "RUNNING"), ran("g.a", "RUNNING")], new Set()).nodes.map((one) => [one.path, one.parent])).toEqual([["g", ""], ["g.a", "g"]]);
});
