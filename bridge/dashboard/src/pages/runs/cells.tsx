/** The cells of the list that tell more than one thing. */
import { Link } from "@tanstack/react-router";

import type { Run } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { askedBy } from "../../words/run";
import { shortNumber } from "../../words/number";
import { plain, spaced } from "../../words/text";
import classes from "./RunsTable.module.css";

const MOST_METRICS = 3;

/** The run's name, its pipeline, and why it failed or waits. */
export function RunName({ run }: { run: Run }) {
  const { name, digest, version_name: version, alias } = run.pipeline;
  return (
    <>
      <Link to="/runs/$runId" params={{ runId: run.run_id }} className={classes["name"] ?? ""} data-run-link>
        <bdi>{plain(run.display_name) || run.run_id}</bdi>
      </Link>
      <span className={classes["second"]}>
        <Link to="/" search={{ pipeline: name }} className={classes["quiet"] ?? ""}><bdi>{plain(name)}</bdi></Link>
        <span className="mono" title={`sha256 ${digest}`}>{alias ?? version ?? digest.slice(0, 8)}</span>
        {run.attempt > 1 && <Tag>attempt {run.attempt}</Tag>}
      </span>
      {run.error ? (
        <span className={classes["error"]} data-quiet={run.state !== "FAILED" || undefined} title={run.error.message}>
          {run.error.kind && <Tag tone="bad">{spaced(run.error.kind)}</Tag>}
          <span className="truncate">{run.error.task ? `${run.error.task}: ` : ""}{plain(run.error.message)}</span>
        </span>
      ) : run.waiting ? (
        <span className={classes["second"]}><span className="truncate">{plain(run.waiting)}</span></span>
      ) : null}
    </>
  );
}

/** Who asked: Airflow's task and DAG run, a person, or nobody that is known. */
export function Origin({ run }: { run: Run }) {
  const { dag_id: dag, dag_run_id: dagRun } = run.origin;
  const who = plain(askedBy(run));
  if (!dag) return <span className={run.origin.user ?? run.origin.scheduler ? "" : "muted"}><bdi>{who}</bdi></span>;
  return (
    <>
      <span className={classes["job"]}>
        <Link to="/" search={{ dag_id: dag }} className={classes["quiet"] ?? ""}><bdi>{who}</bdi></Link>
        {run.links.scheduler && (
          <a href={run.links.scheduler} rel="noreferrer" aria-label={`${who} in Airflow`} title="In Airflow" className={classes["out"]}><Icon name="external" size={13} /></a>
        )}
      </span>
      {dagRun && <span className={classes["second"]}><bdi className="truncate" title={plain(dagRun)}>{plain(dagRun)}</bdi></span>}
    </>
  );
}

/** The metrics that the run's gate was judged by, others after them, and its verdict. */
export function KeyMetrics({ run }: { run: Run }) {
  const { gate } = run;
  const judged = Object.entries(gate?.numbers ?? {}).filter(([name, value]) => value !== null && !name.startsWith("last_good"));
  const known = new Set(judged.map(([name]) => name));
  const numbers = [...judged, ...Object.entries(run.metrics).filter(([name]) => !known.has(name))].slice(0, MOST_METRICS);
  if (!gate && numbers.length === 0) return null;
  return (
    <span className={classes["metrics"]}>
      {numbers.map(([name, value]) => (
        <span key={name} className="tabular" title={name}>
          <span className="muted">{name.slice(name.lastIndexOf(".") + 1)}</span> {value === null ? "" : shortNumber(value)}
        </span>
      ))}
      {gate && <Tag tone={gate.passed ? "good" : gate.passed === false ? "bad" : "wait"} title={`${gate.expression}: ${gate.reason}`}>
        {gate.passed ? "gate passed" : gate.passed === false ? "gate not passed" : "not judged"}
      </Tag>}
    </span>
  );
}
