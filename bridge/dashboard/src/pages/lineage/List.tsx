import type { ReactNode } from "react";

import type { LineageNode } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { State, Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { plain } from "../../words/text";
import { KIND_ICONS, KIND_TITLES, kindOf, KINDS, secondOf, whereOf, type Pool } from "./graph";
import classes from "./List.module.css";

const ORDER = { start: 0, up: 1, down: 2, beside: 3 } as const;

interface Props {
  pool: Pool;
  chosen: string;
  choose: (id: string) => void;
  /** What is told below the chosen node. */
  below: ReactNode;
}

/** The same as the graph in words: by kind, what it came from before what came of it, the nearest first. */
export function List({ pool, chosen, choose, below }: Props) {
  const place = (node: LineageNode) => pool.sides.get(node.id) ?? { side: "beside" as const, steps: 0 };
  const sorted = [...pool.nodes.values()].sort((a, b) => ORDER[place(a).side] - ORDER[place(b).side] || place(a).steps - place(b).steps || a.name.localeCompare(b.name));
  return (
    <div className={classes["list"]} data-testid="list">
      {KINDS.map((kind) => {
        const nodes = sorted.filter((node) => kindOf(node) === kind);
        if (nodes.length === 0) return null;
        return (
          <section key={kind} className="panel" aria-labelledby={`kind-${kind}`}>
            <h2 id={`kind-${kind}`}><Icon name={KIND_ICONS[kind]} size={15} /> {KIND_TITLES[kind]} <span className="muted tabular">{nodes.length.toLocaleString("en")}</span></h2>
            <ul>
              {nodes.map((node) => (
                <li key={node.id} data-chosen={node.id === chosen || undefined}>
                  <button type="button" onClick={() => choose(node.id)} aria-pressed={node.id === chosen}><bdi>{plain(node.name)}</bdi></button>
                  <span className={classes["told"]}>
                    <Tag tone={place(node).side === "start" ? "run" : "still"}>{whereOf(place(node))}</Tag>
                    {node.state && node.kind !== "job_run" ? <State name={node.state} /> : <span className="muted small"><bdi>{plain(secondOf(node))}</bdi></span>}
                    {node.at && <span className="muted small"><When at={node.at} /></span>}
                    {pool.open.has(node.id) && <Tag tone="wait">more is stored</Tag>}
                  </span>
                  {node.id === chosen && below}
                </li>
              ))}
            </ul>
          </section>
        );
      })}
    </div>
  );
}
