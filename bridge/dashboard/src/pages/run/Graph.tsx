import "@xyflow/react/dist/base.css";

import { useComputedColorScheme } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { Background, Controls, Handle, Position, ReactFlow, type Node, type NodeProps } from "@xyflow/react";
import { useMemo, useState } from "react";

import { usePolling } from "../../api/live";
import type { Run } from "../../api/messages";
import { planQuery, tasksQuery } from "../../api/queries";
import { Lines } from "../../parts/feedback";
import { Icon, isIcon } from "../../parts/Icon";
import { toneOf } from "../../parts/State";
import { count, plain, stateWord } from "../../words/text";
import classes from "./Graph.module.css";
import { layout, type Box, type Direction } from "./layout";
import { graphOf, templatePath, type GraphNode } from "./plan";
import { TaskPanel } from "./TaskPanel";

interface Data extends Record<string, unknown> {
  node: GraphNode;
  direction: Direction;
  over: boolean;
  toggle: (path: string) => void;
  select: (path: string) => void;
  chosen: boolean;
}

/** Groups lie below the edges, inner ones above outer ones. */
const DEEPEST = 100;
const PHONE = "(max-width: 40em)";
const TYPES = { task: TaskNode, cluster: GroupNode };

/** The pipeline as a graph with live states. Groups open and close; those of a large graph begin closed. */
export default function Graph({ run }: { run: Run }) {
  const { task: chosen } = useSearch({ from: "/runs/$runId" });
  const navigate = useNavigate({ from: "/runs/$runId" });
  const scheme = useComputedColorScheme("light");
  const direction: Direction = useMediaQuery(PHONE, false, { getInitialValueInEffect: false }) ? "TB" : "LR";
  const plan = useQuery(planQuery(run.run_id));
  const tasks = useQuery({ ...tasksQuery(run.run_id), refetchInterval: usePolling(!run.over) });
  const [toggled, setToggled] = useState<ReadonlySet<string>>(new Set());
  const graph = useMemo(() => (plan.data && tasks.data ? graphOf(plan.data, tasks.data, toggled) : null), [plan.data, tasks.data, toggled]);
  // What is drawn where does not depend on states, so nodes stay where they are while a run goes on.
  const shape = graph?.nodes.map((one) => `${one.path}${one.open ? "+" : ""}`).join("|");
  // eslint-disable-next-line react-hooks/exhaustive-deps -- the shape stands for the graph
  const boxes = useMemo(() => (graph ? layout(graph, direction) : null), [shape, direction]);
  if (!graph || !boxes) return <Lines number={1} height={360} />;
  if (graph.nodes.length === 0) return <p className="muted">No tasks are known yet.</p>;
  const toggle = (path: string) => setToggled(toggled.has(path) ? new Set([...toggled].filter((one) => one !== path)) : new Set([...toggled, path]));
  const select = (path: string) => void navigate({ search: ({ task: _, ...rest }) => (path === chosen ? rest : { ...rest, task: path }), replace: true, resetScroll: false });
  const nodes = graph.nodes.map((node): Node<Data> => {
    const box = boxes.get(node.path) ?? { x: 0, y: 0, width: 0, height: 0 };
    const data = { node, direction, over: run.over, toggle, select, chosen: chosen !== undefined && templatePath(chosen) === node.path };
    return { id: node.path, type: node.open ? "cluster" : "task", position: { x: box.x, y: box.y }, width: box.width, height: box.height, data, zIndex: node.open ? depth(node.path) - DEEPEST : 1 };
  });
  const states = new Map(graph.nodes.map((one) => [one.path, one.state]));
  const edges = graph.edges.map(({ source, target }) => ({ id: `${source} ${target}`, source, target, animated: states.get(target) === "RUNNING" }));
  const selected = tasks.data?.find((one) => one.path === chosen);
  return (
    <div className={classes["split"]} data-open={selected !== undefined || undefined}>
      <div className={`panel ${classes["canvas"] ?? ""}`} data-testid="graph" data-scrolls style={{ height: heightOf(boxes) }}>
        <ReactFlow key={`${direction} ${shape}`} nodes={nodes} edges={edges} nodeTypes={TYPES} colorMode={scheme} fitView fitViewOptions={{ maxZoom: 1, padding: 0.08 }} minZoom={0.1}
          nodesDraggable={false} nodesConnectable={false} nodesFocusable={false} edgesFocusable={false} zoomOnScroll={false} preventScrolling={false} proOptions={{ hideAttribution: true }}>
          <Background gap={20} />
          <Controls showInteractive={false} position="top-right" orientation="horizontal" />
        </ReactFlow>
      </div>
      {selected && <TaskPanel run={run} task={selected} close={() => select(selected.path)} />}
    </div>
  );
}

/** As high as what is drawn, within bounds. */
function heightOf(boxes: ReadonlyMap<string, Box>): string {
  const all = [...boxes.values()];
  const needed = Math.max(...all.map((box) => box.y + box.height)) - Math.min(...all.map((box) => box.y));
  return `clamp(16rem, ${Math.ceil(needed) + 96}px, 75vh)`;
}

function depth(path: string): number {
  return path.split(".").length;
}

function TaskNode({ data }: NodeProps<Node<Data>>) {
  const { node, direction, over, toggle, select, chosen } = data;
  const nothing = over ? "not run" : "not begun";
  const state = node.state || (over ? "SKIPPED" : "PENDING");
  const many = [...node.counts.values()].reduce((sum, one) => sum + one, 0);
  const told = many > 1 ? [...node.counts].map(([one, number]) => `${number} ${stateWord(one).toLowerCase()}`).join(", ") : node.state ? stateWord(node.state) : nothing;
  const press = () => (node.task && node.inner === 0 ? select(node.task) : node.inner > 0 ? toggle(node.path) : undefined);
  return (
    <>
      <Handle type="target" position={direction === "LR" ? Position.Left : Position.Top} className={classes["handle"] ?? ""} />
      <button type="button" className={`nodrag ${classes["node"] ?? ""}`} data-tone={node.state ? toneOf(node.state) : "none"} data-chosen={chosen || undefined} data-group={node.inner > 0 || undefined}
        onClick={press} title={plain(node.path)} aria-label={`${node.name}: ${told}`} aria-expanded={node.inner > 0 ? false : undefined} disabled={node.task === null && node.inner === 0}>
        <span className={classes["sign"]}><Icon name={isIcon(state) ? state : "PENDING"} size={14} /></span>
        <span className={classes["text"]}>
          <bdi className="truncate">{plain(node.name)}</bdi>
          <span className={classes["told"]}>{told}{node.inner > 0 && ` · ${count(node.inner, "task")}`}{node.loop && " · loop"}</span>
        </span>
      </button>
      <Handle type="source" position={direction === "LR" ? Position.Right : Position.Bottom} className={classes["handle"] ?? ""} />
    </>
  );
}

function GroupNode({ data }: NodeProps<Node<Data>>) {
  const { node, toggle } = data;
  return (
    <div className={classes["group"]}>
      <button type="button" className={`nodrag ${classes["title"] ?? ""}`} onClick={() => toggle(node.path)} aria-expanded aria-label={`Close ${node.name}`}>
        <Icon name="down" size={12} /> <bdi className="truncate">{plain(node.name)}</bdi>{node.loop && <span className="muted">loop</span>}
      </button>
    </div>
  );
}
