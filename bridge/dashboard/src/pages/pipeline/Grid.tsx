import { Link, useSearch } from "@tanstack/react-router";
import { useEffect, useMemo, useRef, useState } from "react";

import type { Pipeline, PipelineRun } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { NoSquare, Square } from "../../parts/Square";
import { State, Tag, toneOf } from "../../parts/State";
import { When } from "../../parts/time";
import { plain, spaced, stateWord } from "../../words/text";
import { exact, span } from "../../words/time";
import classes from "./Grid.module.css";

/** Runs as columns, tasks as rows, as in Airflow's grid; above each run how long it waited and ran. */
export function Grid({ pipeline, fading }: { pipeline: Pipeline; fading: boolean }) {
  const search = useSearch({ from: "/pipelines/$name" });
  const runs = useMemo(() => pipeline.runs.toReversed(), [pipeline.runs]);
  const [seen, setSeen] = useState<string | null>(null);
  const looked = runs.find((run) => run.run_id === seen) ?? runs.at(-1);
  const longest = Math.max(...runs.map((run) => (run.queued_seconds ?? 0) + (run.seconds ?? 0)), 1);
  const place = useRef<HTMLDivElement>(null);
  const newest = runs.at(-1)?.run_id;
  // The newest run is on the right: what does not fit is what is oldest.
  useEffect(() => {
    if (place.current) place.current.scrollLeft = place.current.scrollWidth;
  }, [newest]);
  return (
    <section aria-labelledby="grid-title" className={classes["section"]}>
      <div className={classes["title"]}>
        <h2 id="grid-title">Runs over time</h2>
        <span className="muted small">bars: <span className={classes["key"]} data-of="queued" /> queued <span className={classes["key"]} data-of="running" /> running, at most {span(longest * 1000)}</span>
        <nav className={classes["paging"]} aria-label="Pages of the grid">
          {pipeline.next_cursor && <Link to="/pipelines/$name" params={{ name: pipeline.name }} search={{ ...search, cursor: pipeline.next_cursor }} resetScroll={false}><Icon name="left" size={14} /> Older</Link>}
          {search.cursor && <Link to="/pipelines/$name" params={{ name: pipeline.name }} search={{ ...search, cursor: undefined }} resetScroll={false}>Newest <Icon name="right" size={14} /></Link>}
        </nav>
      </div>
      {runs.length === 0 ? <p className="muted">There are no older runs.</p> : (
        <div className={`panel ${classes["frame"] ?? ""}`} data-fading={fading || undefined}>
          <div className={classes["scroll"]} ref={place} tabIndex={0} role="region" aria-label="Grid of runs and tasks">
            <table className={classes["grid"]} onMouseOver={(event) => setSeen(columnOf(event.target) ?? seen)} onFocus={(event) => setSeen(columnOf(event.target) ?? seen)}>
              <caption className="unseen">Each run's tasks, the newest run last</caption>
              <thead>
                <tr>
                  <th scope="col" className={classes["corner"]}><span className="unseen">Task</span></th>
                  {runs.map((run) => (
                    <th key={run.run_id} scope="col" data-run={run.run_id} data-seen={run.run_id === looked?.run_id || undefined}>
                      <Column run={run} longest={longest} />
                    </th>
                  ))}
                </tr>
              </thead>
              <tbody>
                {pipeline.tasks.map((task) => (
                  <tr key={task}>
                    <th scope="row"><bdi className="truncate" title={plain(task)}>{plain(task)}</bdi></th>
                    {runs.map((run) => (
                      <td key={run.run_id} data-run={run.run_id} data-seen={run.run_id === looked?.run_id || undefined}><Field run={run} task={task} /></td>
                    ))}
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
          {looked && <Peek run={looked} />}
        </div>
      )}
      {pipeline.tasks_truncated && <p className="muted small">There are more tasks than are shown; a run's own page has them all.</p>}
    </section>
  );
}

function columnOf(target: EventTarget): string | null {
  return target instanceof Element ? (target.closest<HTMLElement>("[data-run]")?.dataset["run"] ?? null) : null;
}

function Column({ run, longest }: { run: PipelineRun; longest: number }) {
  const queued = run.queued_seconds ?? 0;
  const ran = run.seconds ?? 0;
  const told = `${plain(run.display_name)}: ${stateWord(run.state)}, ${span((queued + ran) * 1000)}, created ${exact(run.created_at)} UTC`;
  return (
    <Link to="/runs/$runId" params={{ runId: run.run_id }} className={classes["column"] ?? ""} aria-label={told} preload={false}>
      <span className={classes["bar"]} aria-hidden="true">
        <span className={classes["queued"]} style={{ height: `${(100 * queued) / longest}%` }} />
        <span className={classes["running"]} data-tone={toneOf(run.state)} style={{ height: `max(3px, ${(100 * ran) / longest}%)` }} />
      </span>
      <Square state={run.state} />
    </Link>
  );
}

function Field({ run, task }: { run: PipelineRun; task: string }) {
  const found = run.tasks[task];
  if (!found) return <NoSquare />;
  const took = found.seconds === null ? "" : `, ${span(found.seconds * 1000)}`;
  return <Square state={found.state} cached={found.cached} title={`${task} of ${plain(run.display_name)}: ${stateWord(found.state)}${found.cached ? ", cached" : ""}${took}`} />;
}

/** The run that is pointed at, in words. */
function Peek({ run }: { run: PipelineRun }) {
  return (
    <p className={classes["peek"]} data-testid="peek">
      <State name={run.state} />
      <Link to="/runs/$runId" params={{ runId: run.run_id }} className={classes["name"] ?? ""}><bdi>{plain(run.display_name)}</bdi></Link>
      <span className="tabular muted">{run.queued_seconds !== null && `${span(run.queued_seconds * 1000)} queued · `}{run.seconds !== null && `${span(run.seconds * 1000)} running`}</span>
      <span className="muted"><When at={run.created_at} /></span>
      {run.good && <Tag tone="good">good run</Tag>}
      {run.error_kind && <Tag tone="bad">{spaced(run.error_kind)}</Tag>}
      {run.error && <span className={`truncate ${classes["error"] ?? ""}`} title={plain(run.error)}>{plain(run.error)}</span>}
    </p>
  );
}
