import "@xyflow/react/dist/base.css";

import { useComputedColorScheme } from "@mantine/core";
import { Background, Controls, Handle, Position, ReactFlow, type Node, type NodeProps, type ReactFlowInstance } from "@xyflow/react";
import { useEffect, useMemo, useRef, useState } from "react";

import type { LineageNode } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { toneOf } from "../../parts/State";
import { plain } from "../../words/text";
import classes from "./Graph.module.css";
import { KIND_ICONS, kindOf, kindWord, nameOf, secondOf, whereOf, type Drawn, type Pool } from "./graph";
import { layout, NODE, toward, type Direction } from "./layout";

interface Data extends Record<string, unknown> {
  node: LineageNode;
  where: string;
  chosen: boolean;
  start: boolean;
  more: boolean;
  direction: Direction;
  choose: (id: string) => void;
  expand: (id: string) => void;
}

interface Props {
  drawn: Drawn;
  pool: Pool;
  chosen: string;
  choose: (id: string) => void;
  expand: (id: string) => void;
}

const TYPES = { lineage: LineageBox };
const READABLE = 0.75;
const FIT = { maxZoom: 1, padding: 0.05 };

/** The graph as the data flowed. The arrow keys go from node to node, Enter looks at one, + goes on from it. */
export default function Graph({ drawn, pool, chosen, choose, expand }: Props) {
  const scheme = useComputedColorScheme("light");
  const { places, direction, scale } = useMemo(() => layout(drawn), [drawn]);
  const [flow, setFlow] = useState<ReactFlowInstance<Node<Data>> | null>(null);
  const frame = useRef<HTMLDivElement>(null);
  const start = places.get(pool.start);
  // What can be read from where one begins is worth more than all of it too small to read.
  useEffect(() => {
    if (scale >= READABLE || !start) void flow?.fitView(FIT);
    else void flow?.setCenter(start.x + NODE.width / 2, start.y + NODE.height / 2, { zoom: READABLE });
  }, [flow, scale, start]);
  const nodes = drawn.nodes.map((node): Node<Data> => ({
    id: node.id, type: "lineage", position: places.get(node.id) ?? { x: 0, y: 0 }, ...NODE,
    data: { node, where: whereOf(pool.sides.get(node.id) ?? { side: "beside", steps: 0 }), chosen: node.id === chosen, start: node.id === pool.start, more: drawn.more.has(node.id), direction, choose, expand },
  }));
  const edges = drawn.edges.map(({ source, target, name }) => ({ id: `${source} ${target} ${name}`, source, target, className: source === chosen || target === chosen ? (classes["near"] ?? "") : "" }));
  const press = (event: React.KeyboardEvent) => {
    const here = (event.target as HTMLElement).closest<HTMLElement>("[data-node]")?.dataset["node"];
    if (!here) return;
    if (event.key === "+") expand(here);
    const next = toward(places, here, event.key);
    if (!next) return;
    event.preventDefault();
    frame.current?.querySelector<HTMLElement>(`[data-node="${CSS.escape(next)}"]`)?.focus({ preventScroll: true });
  };
  // What has the focus is seen: the browser would scroll what is clipped, which moves the graph off its ground.
  const show = (event: React.FocusEvent) => {
    const [box, room] = [event.target.getBoundingClientRect(), event.currentTarget.getBoundingClientRect()];
    const place = places.get((event.target as HTMLElement).dataset["node"] ?? "");
    event.currentTarget.querySelector(".react-flow")?.scrollTo(0, 0);
    const seen = box.left >= room.left && box.right <= room.right && box.top >= room.top && box.bottom <= room.bottom;
    if (place && flow && !seen) void flow.setCenter(place.x + NODE.width / 2, place.y + NODE.height / 2, { zoom: flow.getZoom() });
  };
  return (
    <div ref={frame} onFocus={show} className={`panel ${classes["canvas"] ?? ""}`} data-testid="graph" role="group" aria-label="Graph of the lineage; the list tells the same" onKeyDown={press}>
      <ReactFlow nodes={nodes} edges={edges} nodeTypes={TYPES} colorMode={scheme} onInit={setFlow} minZoom={0.1}
        nodesDraggable={false} nodesConnectable={false} nodesFocusable={false} edgesFocusable={false} disableKeyboardA11y zoomOnScroll={false} preventScrolling={false} proOptions={{ hideAttribution: true }}>
        <Background gap={20} />
        <Controls showInteractive={false} />
      </ReactFlow>
    </div>
  );
}

function LineageBox({ data }: NodeProps<Node<Data>>) {
  const { node, where, chosen, start, more, direction, choose, expand } = data;
  const name = plain(nameOf(node));
  const failed = node.state !== null && ["bad", "run"].includes(toneOf(node.state)) ? toneOf(node.state) : undefined;
  return (
    <>
      <Handle type="target" position={direction === "LR" ? Position.Left : Position.Top} className={classes["handle"] ?? ""} />
      <button type="button" className={`nodrag ${classes["node"] ?? ""}`} data-node={node.id} data-kind={kindOf(node)} data-tone={failed} data-chosen={chosen || undefined} data-start={start || undefined}
        onClick={() => choose(node.id)} title={plain(node.name)} aria-label={`${kindWord(node)} ${name}, ${where}`} aria-pressed={chosen}>
        <span className={classes["sign"]}><Icon name={KIND_ICONS[kindOf(node)]} size={16} /></span>
        <span className={classes["text"]}>
          <bdi className="truncate">{name}</bdi>
          <span className={classes["told"]}>{kindWord(node)} · {plain(secondOf(node))}</span>
        </span>
      </button>
      {more && (
        <button type="button" className={`nodrag ${classes["more"] ?? ""}`} onClick={() => expand(node.id)} aria-label={`Go on from ${name}`} title="Go on from here"><Icon name="plus" size={12} /></button>
      )}
      <Handle type="source" position={direction === "LR" ? Position.Right : Position.Bottom} className={classes["handle"] ?? ""} />
    </>
  );
}
