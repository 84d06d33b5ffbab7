import { Button } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import { inside } from "../../api/http";
import type { LineageNode } from "../../api/messages";
import { Copy } from "../../parts/Copy";
import { Icon } from "../../parts/Icon";
import { State } from "../../parts/State";
import { When } from "../../parts/time";
import { plain, shortType } from "../../words/text";
import classes from "./LineagePage.module.css";
import { KIND_ICONS, kindOf, kindWord, nameOf, neighbours, whereOf, type Pool } from "./graph";

const MOST_NEAR = 30;

interface Props {
  node: LineageNode;
  pool: Pool;
  opened: boolean;
  asking: boolean;
  expand: (id: string) => void;
  choose: (id: string) => void;
}

/** The node that is looked at: what is known of it, where its page is, and what lies next to it. */
export function Details({ node, pool, opened, asking, expand, choose }: Props) {
  const start = node.id === pool.start;
  return (
    <aside className={`panel ${classes["details"] ?? ""}`} aria-label="The chosen node" data-testid="details">
      <p className={classes["kind"]}><Icon name={KIND_ICONS[kindOf(node)]} size={15} /> {kindWord(node)} <span className="muted">{whereOf(pool.sides.get(node.id) ?? { side: "beside", steps: 0 })}</span></p>
      <h2><bdi>{plain(node.name)}</bdi></h2>
      <Links node={node} />
      <dl>
        {node.state && <Fact name="State">{node.kind === "job_run" ? node.state.toLowerCase() : <State name={node.state} />}</Fact>}
        {node.type && <Fact name={node.kind === "run" ? "Pipeline" : node.kind === "dataset" ? "Version is a" : "Type"}><bdi>{plain(shortType(node.type))}</bdi></Fact>}
        {node.dag_id && <Fact name="DAG"><bdi>{plain(node.dag_id)}</bdi></Fact>}
        {node.dag_run_id && <Fact name="DAG run"><bdi>{plain(node.dag_run_id)}</bdi></Fact>}
        {node.dag_id && node.task_id && <Fact name="Airflow task"><bdi>{plain(node.task_id)}</bdi></Fact>}
        {node.uri && <Fact name="Address"><bdi className="mono">{plain(node.uri)}</bdi> <Copy value={node.uri} what="address" /></Fact>}
        {node.version && <Fact name={node.kind === "run" ? "Digest" : "Version"}><bdi className="mono">{plain(node.version)}</bdi></Fact>}
        {node.at && <Fact name={node.kind === "dataset" ? "Written" : "At"}><When at={node.at} both /></Fact>}
        {node.project !== "" && node.project !== "default" && <Fact name="Project"><bdi>{plain(node.project)}</bdi></Fact>}
      </dl>
      <div className={classes["acts"]}>
        {!opened && !start && <Button size="compact-sm" variant="default" loading={asking} leftSection={<Icon name="plus" size={13} />} onClick={() => expand(node.id)}>Go on from here</Button>}
        {!start && <Link to="/lineage" search={{ node: node.id }}>Begin here instead</Link>}
      </div>
      <Near title="Directly before" ids={pool.edges.filter((edge) => edge.target === node.id).map((edge) => edge.source)} pool={pool} choose={choose} />
      <Near title="Directly after" ids={pool.edges.filter((edge) => edge.source === node.id).map((edge) => edge.target)} pool={pool} choose={choose} />
      {neighbours(pool, node.id).length === 0 && <p className="muted small">Nothing is known to be connected with it.</p>}
    </aside>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** The pages of the node, here and in Airflow. */
function Links({ node }: { node: LineageNode }) {
  return (
    <p className={classes["links"]}>
      {node.kind === "run" && node.run_id && <Link to="/runs/$runId" params={{ runId: node.run_id }}>The run's page</Link>}
      {node.kind === "task" && node.run_id && <Link to="/runs/$runId" params={{ runId: node.run_id }} search={{ task: node.name }}>The task on its run's page</Link>}
      {node.artifact_id && <a href={inside(`/artifacts/${node.artifact_id}`)}>The artifact's page</a>}
      {node.link && <a href={node.link} rel="noreferrer">In Airflow <Icon name="external" size={12} /></a>}
    </p>
  );
}

function Near({ title, ids, pool, choose }: { title: string; ids: string[]; pool: Pool; choose: (id: string) => void }) {
  const nodes = [...new Set(ids)].flatMap((id) => pool.nodes.get(id) ?? []);
  if (nodes.length === 0) return null;
  return (
    <section className={classes["near"]}>
      <h3>{title} <span className="muted tabular">{nodes.length.toLocaleString("en")}</span></h3>
      <ul>
        {nodes.slice(0, MOST_NEAR).map((one) => (
          <li key={one.id}>
            <button type="button" onClick={() => choose(one.id)}><Icon name={KIND_ICONS[kindOf(one)]} size={13} /> <bdi>{plain(nameOf(one))}</bdi></button>
          </li>
        ))}
      </ul>
      {nodes.length > MOST_NEAR && <p className="muted small">The list has the other {nodes.length - MOST_NEAR}.</p>}
    </section>
  );
}
