import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useCallback } from "react";

import { trendQuery } from "../../api/historyQueries";
import { usePolling } from "../../api/live";
import type { Pipeline, Trend as TrendModel, TrendPoint } from "../../api/messages";
import type { Colour } from "../../parts/Chart";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { count, plain, sentence, stateWord } from "../../words/text";
import { LENGTHS, type PipelineSearch } from "./search";
import { told, TIMES, trendOption, verdict } from "./trend";
import classes from "./Trend.module.css";

const Chart = lazy(() => import("../../parts/Chart"));
const HEIGHT = 300;

/** One number over the newest runs, with those marked that are worse than the rule allows; the rule is stated. */
export function Trend({ pipeline }: { pipeline: Pipeline }) {
  const search = useSearch({ from: "/pipelines/$name" });
  const navigate = useNavigate({ from: "/pipelines/$name" });
  const name = search.metric ?? pipeline.metrics[0] ?? "duration";
  const { length = "100", rule } = search;
  const trend = useQuery({ ...trendQuery(pipeline.name, { name, project: pipeline.project, rule, limit: length }), refetchInterval: usePolling() });
  const change = (next: Partial<PipelineSearch>) => void navigate({ search: { ...search, ...next }, replace: true, resetScroll: false });
  const known = [...new Set([name, ...pipeline.metrics])].filter((one) => !(one in TIMES));
  return (
    <section aria-labelledby="trend-title" className={classes["section"]}>
      <div className={classes["title"]}>
        <h2 id="trend-title">Trend</h2>
        <NativeSelect aria-label="Number" size="xs" value={name} onChange={(event) => change({ metric: event.currentTarget.value })}>
          {known.map((one) => <option key={one} value={one}>{plain(one)}</option>)}
          {Object.entries(TIMES).map(([value, word]) => <option key={value} value={value}>{word}</option>)}
        </NativeSelect>
        <NativeSelect aria-label="How many runs" size="xs" value={length} onChange={(event) => change({ length: LENGTHS.find((one) => one === event.currentTarget.value) ?? "100" })}>
          {LENGTHS.map((one) => <option key={one} value={one}>newest {one} runs</option>)}
        </NativeSelect>
      </div>
      {trend.data === undefined ? (
        trend.isPending ? <Lines number={1} height={HEIGHT} /> : <Trouble error={trend.error} retry={() => void trend.refetch()} what="The trend" />
      ) : (
        <>
          {trend.error && <Notice tone="bad">The trend could not be brought up to date: {trend.error.message}.</Notice>}
          <Drawn trend={trend.data} fading={trend.isPlaceholderData} />
          <Rule trend={trend.data} forced={rule === "median"} change={change} />
          <Regressions trend={trend.data} />
          <Numbers trend={trend.data} />
        </>
      )}
    </section>
  );
}

function Drawn({ trend, fading }: { trend: TrendModel; fading: boolean }) {
  const navigate = useNavigate();
  const option = useCallback((colour: Colour) => trendOption(trend, colour), [trend]);
  const press = useCallback((run: string) => {
    if (trend.points.some((point) => point.run_id === run)) void navigate({ to: "/runs/$runId", params: { runId: run } });
  }, [navigate, trend]);
  const valued = trend.points.filter((point) => point.value !== null).length;
  if (valued === 0) return <p className={`panel ${classes["nothing"] ?? ""}`}>None of these runs has the number <b>{plain(trend.name)}</b>.</p>;
  const label = `${trend.name} of ${count(valued, "run")}, ${count(trend.regressions, "regression")}; the numbers stand in a table below`;
  return (
    <div className={`panel ${classes["chart"] ?? ""}`} data-fading={fading || undefined}>
      <Suspense fallback={<Lines number={1} height={HEIGHT} />}><Chart label={label} height={HEIGHT} option={option} press={press} /></Suspense>
      <ul className={classes["legend"]} aria-label="What is drawn">
        <li><i data-sign="value" aria-hidden="true" /> <bdi>{plain(trend.name)}</bdi>, hollow where the run was not good</li>
        <li><i data-sign="median" aria-hidden="true" /> median of good runs</li>
        {trend.rule.kind === "median" && <li><i data-sign="usual" aria-hidden="true" /> usual</li>}
        {trend.regressions > 0 && <li><i data-sign="regression" aria-hidden="true" /> regression</li>}
      </ul>
    </div>
  );
}

function Rule({ trend, forced, change }: { trend: TrendModel; forced: boolean; change: (next: Partial<PipelineSearch>) => void }) {
  const { rule } = trend;
  return (
    <p className={classes["rule"]} data-testid="rule">
      <strong>{rule.kind === "gate" ? "The pipeline's gate" : "Regression"}:</strong> {sentence(rule.text)}.{" "}
      <code title="The rule as an expression">{rule.expression}</code>{" "}
      {rule.kind === "gate" && <button type="button" onClick={() => change({ rule: "median" })}>Judge by the median instead</button>}
      {forced && <button type="button" onClick={() => change({ rule: undefined })}>Judge by the pipeline's gate, if it judges this</button>}
    </p>
  );
}

function Regressions({ trend }: { trend: TrendModel }) {
  const worse = trend.points.filter((point) => point.regression).toReversed();
  if (worse.length === 0) return <p className={classes["fine"]}><Icon name="SUCCEEDED" size={13} /> No regression among these runs.</p>;
  return (
    <div className={`panel ${classes["worse"] ?? ""}`}>
      <h3><Icon name="warning" size={14} /> {count(worse.length, "regression")}</h3>
      <ul>
        {worse.map((point) => (
          <li key={point.run_id}>
            <Link to="/runs/$runId" params={{ runId: point.run_id }}><bdi>{plain(point.display_name)}</bdi></Link>
            <strong className="tabular">{point.value !== null && told(trend.name, point.value)}</strong>
            <span>{verdict(trend.name, point)}</span>
            <span className="muted"><When at={point.created_at} /></span>
            <Against point={point} trend={trend} />
          </li>
        ))}
      </ul>
    </div>
  );
}

/** The way to what differed between a regression and the good run before it. */
function Against({ point, trend }: { point: TrendPoint; trend: TrendModel }) {
  const before = trend.points.slice(0, trend.points.indexOf(point)).findLast((one) => one.good && !one.regression && one.value !== null);
  if (!before) return null;
  return <Link to="/compare" search={{ run: [before.run_id, point.run_id] }} className={classes["against"] ?? ""}><Icon name="compare" size={13} /> What differed</Link>;
}

/** The same for who does not see the chart, or wants the numbers. */
function Numbers({ trend }: { trend: TrendModel }) {
  return (
    <details className={classes["numbers"]}>
      <summary>The numbers as a table{trend.truncated && " (there are older runs)"}</summary>
      <div className={`panel ${classes["table"] ?? ""}`}>
        <table>
          <thead><tr><th scope="col">Run</th><th scope="col">{plain(trend.name)}</th><th scope="col">Median</th><th scope="col">Judged</th><th scope="col">Created</th></tr></thead>
          <tbody>
            {trend.points.toReversed().map((point) => (
              <tr key={point.run_id}>
                <th scope="row"><Link to="/runs/$runId" params={{ runId: point.run_id }} preload={false}><bdi>{plain(point.display_name)}</bdi></Link> {!point.good && <Tag>{stateWord(point.state)}</Tag>}</th>
                <td className="tabular">{point.value === null ? "—" : told(trend.name, point.value)}</td>
                <td className="tabular">{point.median === null ? "—" : told(trend.name, point.median)}</td>
                <td>{point.regression && <Tag tone="bad">regression</Tag>} {verdict(trend.name, point)}</td>
                <td><When at={point.created_at} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}
