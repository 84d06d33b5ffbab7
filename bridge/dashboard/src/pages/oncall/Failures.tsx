import { Link } from "@tanstack/react-router";

import type { FailureGroup } from "../../api/messages";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { count, plain, sentence, spaced } from "../../words/text";
import { Care } from "./Care";
import { GroupButton } from "./GroupButton";
import classes from "./OnCallPage.module.css";

const GROUPS: Record<FailureGroup["group"], string> = {
  code: "code", data: "data", image: "image", quota: "quota and resources", node: "node", backend: "backend", other: "other",
};
const MOST_PIPELINES = 6;

/** What failed, by why it did, the largest group first. */
export function Failures({ groups }: { groups: readonly FailureGroup[] }) {
  const total = groups.reduce((sum, one) => sum + one.count, 0);
  return (
    <section className={classes["section"]} aria-labelledby="failures">
      <div className={classes["heading"]}>
        <h2 id="failures">Failed</h2>
        <span className="muted">{total > 0 ? `${count(total, "run")}, ${count(groups.length, "cause")}` : "no run failed"}</span>
      </div>
      <div className={classes["groups"]}>{groups.map((one) => <Group key={`${one.group} ${one.kind}`} group={one} />)}</div>
    </section>
  );
}

function Group({ group }: { group: FailureGroup }) {
  const name = group.kind === "unknown" ? "cause not known" : spaced(group.kind);
  return (
    <article className={`panel ${classes["group"] ?? ""}`} aria-label={`Failures: ${name}`}>
      <header>
        <h3>{sentence(name)}</h3>
        {GROUPS[group.group] !== name && <Tag tone="bad">{GROUPS[group.group]}</Tag>}
        <span className={classes["count"]}>{count(group.count, "run")}</span>
        <GroupButton verb="retry" runs={group.runs} of={group.count} />
      </header>
      {group.message && <p className={classes["message"]}><bdi>{plain(group.message)}</bdi></p>}
      <p className={`muted small ${classes["line"] ?? ""}`}>
        <span>last <When at={group.last_at} />{group.count > 1 && <>, first <When at={group.first_at} /></>}</span>
        {group.pipelines.slice(0, MOST_PIPELINES).map((one) => (
          <Link key={`${one.project} ${one.name}`} to="/" search={{ pipeline: one.name, project: [one.project], state: ["FAILED"] }}><bdi>{plain(one.name)}</bdi> × {one.count}</Link>
        ))}
        {group.pipelines.length > MOST_PIPELINES && <span>and {group.pipelines.length - MOST_PIPELINES} more</span>}
      </p>
      <Care owner={group.owner} runbook={group.runbook} />
      <details className={classes["runs"]}>
        <summary>{group.count > group.runs.length ? `The newest ${group.runs.length} runs` : count(group.runs.length, "run")}</summary>
        <ul>
          {group.runs.map((run) => (
            <li key={run.run_id}>
              <Link to="/runs/$runId" params={{ runId: run.run_id }}><bdi>{plain(run.display_name)}</bdi></Link>{" "}
              <span className="muted small">{run.dag_id && <><bdi>{plain(run.dag_id)}</bdi>, </>}<When at={run.finished_at ?? run.created_at} /></span>
            </li>
          ))}
        </ul>
      </details>
    </article>
  );
}
