import { describe, expect, it } from "vitest";

import type { LineageGraph, LineageNode } from "../../api/messages";
import { drawnOf, kindOf, nameOf, poolOf } from "./graph";
import { layout, toward } from "./layout";

function node(id: string, depth: number, more: Partial<LineageNode> = {}): LineageNode {
  return {
    id, depth, kind: "task", name: id, project: "default", type: null, uri: null, version: null, state: null,
    artifact_id: null, run_id: null, dataset_id: null, dag_id: null, dag_run_id: null, task_id: null, at: null, link: null, ...more,
  };
}

function graph(nodes: LineageNode[], edges: string[], frontier: string[] = []): LineageGraph {
  return { nodes, edges: edges.map((one) => ({ source: one.split(">")[0] ?? "", target: one.split(">")[1] ?? "", name: "" })), truncated: frontier.length > 0, frontier };
}

const AROUND_MODEL = graph([node("model", 0), node("train", 1), node("data", 2), node("judge", 1)], ["train>model", "data>train", "model>judge"], ["data"]);
const AROUND_DATA = graph([node("data", 0), node("etl", 1), node("train", 1), node("other", 1)], ["etl>data", "data>train", "data>other"], ["other"]);

describe("a lineage", () => {
  it("tells what the start came from, what came of it, and what is only beside it", () => {
    const pool = poolOf("model", [AROUND_MODEL, AROUND_DATA]);
    expect([...pool.sides].map(([id, { side, steps }]) => `${id} ${side} ${steps}`)).toEqual([
      "model start 0", "train up 1", "data up 2", "etl up 3", "judge down 1", "other beside 0",
    ]);
  });

  it("has no more to ask of a node that was gone on from", () => {
    expect([...poolOf("model", [AROUND_MODEL]).open]).toEqual(["data"]);
    expect([...poolOf("model", [AROUND_MODEL, AROUND_DATA]).open]).toEqual(["other"]);
  });

  it("draws the nearest and marks what more hangs on, until that is gone on from", () => {
    const readers = Array.from({ length: 80 }, (_, index) => node(`reader${index}`, 1));
    const pool = poolOf("data", [graph([node("data", 0), ...readers], readers.map((one) => `data>${one.id}`))]);
    const first = drawnOf(pool, []);
    expect([first.nodes.length, first.edges.length, [...first.more]]).toEqual([60, 59, ["data"]]);
    const all = drawnOf(pool, ["data"]);
    expect([all.nodes.length, all.more.size]).toEqual([81, 0]);
  });

  it("leads from a run to a task through the task before it", () => {
    const [run, made] = [node("run", 0, { kind: "run", run_id: "r" }), node("made", 2, { kind: "artifact" })];
    const tasks = [node("prepare", 1, { run_id: "r" }), node("train", 1, { run_id: "r" })];
    const pool = poolOf("run", [graph([run, ...tasks, made], ["run>prepare", "run>train", "prepare>made", "made>train"])]);
    expect(drawnOf(pool, []).edges.map((edge) => `${edge.source}>${edge.target}`)).toEqual(["run>prepare", "prepare>made", "made>train"]);
  });

  it("calls data by the end of its address and knows a model among artifacts", () => {
    const uri = "file:///data/flights/year=2013/month=01/day=05/flights.parquet";
    expect(nameOf(node("d", 0, { kind: "dataset", name: uri }))).toBe("…/month=01/day=05/flights.parquet");
    expect(kindOf(node("a", 0, { kind: "artifact", type: "system.Model" }))).toBe("model");
    expect(kindOf(node("a", 0, { kind: "artifact", type: "system.Dataset" }))).toBe("artifact");
  });
});

describe("its layout", () => {
  const chain = Array.from({ length: 10 }, (_, index) => node(`n${index}`, index));
  const { places, direction, scale } = layout({ nodes: chain, edges: chain.slice(1).map((one, index) => ({ source: `n${index}`, target: one.id, name: "" })), more: new Set() });

  it("goes down where that shows the nodes larger", () => {
    expect(direction).toBe("TB");
    expect(scale).toBeGreaterThan(0.5);
  });

  it("leads the arrow keys to the next node that way", () => {
    expect(toward(places, "n4", "ArrowUp")).toBe("n3");
    expect(toward(places, "n4", "ArrowDown")).toBe("n5");
    expect(toward(places, "n4", "ArrowLeft")).toBeNull();
    expect(toward(places, "n4", "x")).toBeNull();
  });
});
