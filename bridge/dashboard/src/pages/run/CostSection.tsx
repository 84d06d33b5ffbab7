import { useQuery } from "@tanstack/react-query";

import { runCostQuery } from "../../api/costQueries";
import type { Run, RunCost, Usage } from "../../api/messages";
import { hours, money, UNKNOWN_HOURS } from "../../words/cost";
import { count, plain } from "../../words/text";
import { span } from "../../words/time";
import classes from "./CostSection.module.css";

const OPEN_TASKS = 6;

/** What the run used and cost, task by task. */
export function CostSection({ run }: { run: Run }) {
  const found = useQuery({ ...runCostQuery(run), enabled: run.started_at !== null });
  if (!found.data && !found.error) return null;
  return (
    <section className={classes["section"]} aria-labelledby="cost">
      <h2 id="cost">Cost</h2>
      {found.data ? <Found cost={found.data} over={run.over} /> : <p className="muted">What the run used cannot be shown: {found.error.message}.</p>}
    </section>
  );
}

function Found({ cost, over }: { cost: RunCost; over: boolean }) {
  const { total, tasks, currency } = cost;
  return (
    <>
      <p className="tabular">
        {total.cost === null ? "no price" : <strong>{money(total.cost, currency)}</strong>}{over ? "" : " so far"}: {used(total) || "no hours yet"}
        {total.unpriced.length > 0 && <span className="muted small"> No price is set for <bdi>{total.unpriced.map(plain).join(", ")}</bdi>.</span>}
        {total.unknown_hours > 0 && <span className="muted small"> Unknown: {UNKNOWN_HOURS}.</span>}
      </p>
      {tasks.length > 0 && (
        <details open={tasks.length <= OPEN_TASKS}>
          <summary>{cost.truncated ? `The first ${tasks.length.toLocaleString("en")} tasks` : count(tasks.length, "task")}</summary>
          <ul className={`panel ${classes["tasks"] ?? ""}`} aria-label="What each task used">
            {tasks.map((task, place) => (
              <li key={`${task.path} ${place}`}>
                <bdi className="mono">{plain(task.path)}</bdi>
                <span className="muted">{span(task.seconds * 1000)}</span>
                <span>{used(task)}</span>
                {task.cost !== null && <strong>{money(task.cost, currency)}</strong>}
              </li>
            ))}
          </ul>
        </details>
      )}
    </>
  );
}

/** The hours that there are, such as "2 core h, 4 GiB h". */
function used(usage: Usage): string {
  const parts: [number, string][] = [
    [usage.cpu_hours, "core h"], [usage.memory_gib_hours, "GiB h"],
    ...Object.entries(usage.accelerator_hours).map(([name, value]): [number, string] => [value, `${plain(name)} h`]),
    [usage.unknown_hours, "h unknown"],
  ];
  return parts.filter(([value]) => value > 0).map(([value, unit]) => `${hours(value)} ${unit}`).join(", ");
}
