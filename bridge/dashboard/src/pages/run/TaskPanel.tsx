import { CloseButton } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import type { Run, Task } from "../../api/messages";
import { Copy } from "../../parts/Copy";
import { State, Tag } from "../../parts/State";
import { When, useNow } from "../../parts/time";
import { splitOf } from "../../words/run";
import { span } from "../../words/time";
import { plain, shown } from "../../words/text";
import { isOver, labelOf } from "./tasks";
import classes from "./TaskPanel.module.css";
import { TaskLog } from "./TaskLog";

/** One task of the run: how it went, what it was given, what it gave, and its log. */
export function TaskPanel({ run, task, close }: { run: Run; task: Task; close: () => void }) {
  const now = useNow();
  const split = splitOf(task, isOver(task), now);
  return (
    <aside className={`panel ${classes["panel"] ?? ""}`} aria-label={`Task ${task.path}`}>
      <div className={classes["head"]}>
        <h2><bdi>{plain(labelOf(task))}</bdi></h2>
        <CloseButton aria-label="Close the task" onClick={close} />
      </div>
      <p className={classes["lead"]}>
        <State name={task.state} />
        {task.kind && task.kind !== "container" && <Tag>{task.kind === "dag" ? "group" : task.kind}</Tag>}
        {task.cached && <Tag>cached</Tag>}
        {split && <span className="tabular">{span(split.queued)} <span className="muted">queued</span> · {span(split.running)} <span className="muted">ran</span></span>}
      </p>
      {task.error && <p className={classes["error"]}><bdi>{plain(task.error.message)}</bdi></p>}
      <dl className={classes["facts"]}>
        <div><dt>Path</dt><dd><bdi>{plain(task.path)}</bdi></dd></div>
        {task.started_at && <div><dt>Started</dt><dd><When at={task.started_at} both /></dd></div>}
        {task.pod_name && <div><dt>Pod</dt><dd className="mono">{task.pod_name} <Copy value={task.pod_name} what="pod" /></dd></div>}
      </dl>
      <Values title="Inputs" values={task.inputs} />
      <Values title="Outputs" values={task.outputs} />
      {task.pod_name && (
        <TaskLog run={run} task={task}>
          <Link to="/runs/$runId" params={{ runId: run.run_id }} search={{ tab: "logs", task: task.path }} resetScroll={false}>Whole log</Link>
        </TaskLog>
      )}
    </aside>
  );
}

function Values({ title, values }: { title: string; values: Readonly<Record<string, unknown>> }) {
  const names = Object.keys(values);
  if (names.length === 0) return null;
  return (
    <section>
      <h3>{title}</h3>
      <dl className={classes["facts"]}>
        {names.map((name) => <div key={name}><dt><bdi>{plain(name)}</bdi></dt><dd className="mono"><bdi className={classes["value"]} tabIndex={0} role="group" aria-label={`${title}: ${name}`}>{shown(values[name])}</bdi></dd></div>)}
      </dl>
    </section>
  );
}
