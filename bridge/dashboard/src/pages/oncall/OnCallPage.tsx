import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";

import { usePolling } from "../../api/live";
import type { MissingRun, OnCall, StuckRun } from "../../api/messages";
import { onCallQuery } from "../../api/onCallQueries";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { StaleBackends } from "../../parts/StaleBackends";
import { When } from "../../parts/time";
import { useTitle } from "../../parts/useTitle";
import { count, plain } from "../../words/text";
import { span } from "../../words/time";
import { Care } from "./Care";
import { Failures } from "./Failures";
import { GroupButton } from "./GroupButton";
import classes from "./OnCallPage.module.css";
import { readOnCallSearch, USUAL_WINDOW, WINDOWS } from "./search";

/** What whoever is on call has to look at: failures by cause, runs that are stuck, runs that never started. */
export function OnCallPage() {
  useTitle("On call");
  const search = useSearch({ from: "/oncall" });
  const navigate = useNavigate({ from: "/oncall" });
  const window = search.window ?? USUAL_WINDOW;
  const polling = usePolling();
  const found = useQuery({ ...onCallQuery(window, search.project), ...(polling && { refetchInterval: polling }) });
  const windows: { value: string; label: string }[] = Object.entries(WINDOWS).map(([value, label]) => ({ value, label }));
  if (!windows.some((one) => one.value === window)) windows.push({ value: window, label: window });
  return (
    <>
      <div className={classes["title"]}>
        <h1>On call</h1>
        <NativeSelect aria-label="Failures of the" value={window} data={windows}
          onChange={(event) => void navigate({ search: readOnCallSearch({ ...search, window: event.currentTarget.value }) })} />
        {search.project && <p className="muted">Project <bdi>{plain(search.project)}</bdi> <Link to="/oncall" search={{}}>all projects</Link></p>}
      </div>
      <StaleBackends />
      {found.isError && found.data && <Notice tone="bad">What is shown could not be brought up to date: {found.error.message}.</Notice>}
      {found.isPending ? <Lines number={4} height={110} /> : found.data === undefined ? <Trouble error={found.error} retry={() => void found.refetch()} what="This page" /> : <Found found={found.data} />}
    </>
  );
}

function Found({ found }: { found: OnCall }) {
  const { failures, stuck, missing } = found;
  if (failures.length + stuck.length + missing.length === 0) {
    return (
      <section className={`panel ${classes["quiet"] ?? ""}`}>
        <h2><Icon name="SUCCEEDED" size={20} /> Nothing to do</h2>
        <p>No run failed in the last {span(found.window_seconds * 1000)}, none takes longer than usual, and every run that was expected started.</p>
        <Link to="/">Show all runs</Link>
      </section>
    );
  }
  return (
    <>
      {found.truncated && <Notice>More failed, or goes on, than was looked at: the counts are of the newest.</Notice>}
      <Failures groups={failures} />
      <Stuck runs={stuck} />
      <Missing runs={missing} />
    </>
  );
}

function Stuck({ runs }: { runs: readonly StuckRun[] }) {
  return (
    <section className={classes["section"]} aria-labelledby="stuck">
      <div className={classes["heading"]}>
        <h2 id="stuck">Stuck</h2>
        <span className="muted">{runs.length > 0 ? count(runs.length, "run") : "no run goes on beyond its usual time"}</span>
        {runs.length > 0 && <GroupButton verb="cancel" runs={runs} />}
      </div>
      {runs.length > 0 && (
        <ul className={`panel ${classes["rows"] ?? ""}`} aria-label="Runs that are stuck">
          {runs.map((run) => (
            <li key={run.run_id}>
              <p className={classes["line"]}>
                <Link to="/runs/$runId" params={{ runId: run.run_id }} className={classes["name"] ?? ""}><bdi>{plain(run.display_name)}</bdi></Link>
                <bdi className="muted">{plain(run.pipeline)}</bdi>
              </p>
              <p><strong className="tabular">{span(run.running_seconds * 1000)}</strong> so far, usually {span(run.usual_seconds * 1000)}: <bdi>{plain(run.why)}</bdi></p>
              <Care owner={run.owner} runbook={run.runbook} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}

function Missing({ runs }: { runs: readonly MissingRun[] }) {
  return (
    <section className={classes["section"]} aria-labelledby="missing">
      <div className={classes["heading"]}>
        <h2 id="missing">Never started</h2>
        <span className="muted">{runs.length > 0 ? count(runs.length, "pipeline") : "every run that was expected started"}</span>
      </div>
      {runs.length > 0 && (
        <ul className={`panel ${classes["rows"] ?? ""}`} aria-label="Runs that never started">
          {runs.map((one) => (
            <li key={`${one.project} ${one.pipeline} ${one.dag_id ?? ""}`}>
              <p className={classes["line"]}>
                <Link to="/" search={{ pipeline: one.pipeline }} className={classes["name"] ?? ""}><bdi>{plain(one.pipeline)}</bdi></Link>
                {one.dag_id && <span className="muted">DAG <bdi>{plain(one.dag_id)}</bdi></span>}
              </p>
              <p><strong className="tabular">{span(one.late_seconds * 1000)} late</strong>: one was expected <When at={one.expected_at} />, every {span(one.every_seconds * 1000)}. The last was <Link to="/runs/$runId" params={{ runId: one.last_run.run_id }}><bdi>{plain(one.last_run.display_name)}</bdi></Link>, <When at={one.last_run.created_at} />.</p>
              <Care owner={one.owner} runbook={one.runbook} />
            </li>
          ))}
        </ul>
      )}
    </section>
  );
}
