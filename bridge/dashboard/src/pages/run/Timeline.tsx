import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo, useState } from "react";

import { usePolling } from "../../api/live";
import type { Run, Task } from "../../api/messages";
import { tasksQuery } from "../../api/queries";
import { Lines, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { State, Tag, toneOf } from "../../parts/State";
import { useNow } from "../../parts/time";
import { span } from "../../words/time";
import { plain } from "../../words/text";
import { TaskPanel } from "./TaskPanel";
import { isOver, scaleOf, taskRows, ticks, type Scale, type TaskRow } from "./tasks";
import classes from "./Timeline.module.css";

const FIRST_ROWS = 300;

/** The tasks as a tree on a time line, each with the part it waited and the part it ran. */
export function Timeline({ run }: { run: Run }) {
  const polling = usePolling(!run.over);
  const tasks = useQuery({ ...tasksQuery(run.run_id), refetchInterval: polling });
  if (tasks.data === undefined) return tasks.isPending ? <Lines height={32} /> : <Trouble error={tasks.error} retry={() => void tasks.refetch()} what="The tasks" />;
  if (tasks.data.length === 0) return <p className="muted">{run.over ? "No tasks were read for this run." : "No tasks yet."}</p>;
  return <Rows run={run} tasks={tasks.data} />;
}

function Rows({ run, tasks }: { run: Run; tasks: readonly Task[] }) {
  const { task: chosen } = useSearch({ from: "/runs/$runId" });
  const navigate = useNavigate({ from: "/runs/$runId" });
  const [closed, setClosed] = useState<ReadonlySet<string>>(() => new Set(tasks.length > FIRST_ROWS ? tasks.filter((one) => one.kind === "dag" && one.path).map((one) => one.task_id) : []));
  const [most, setMost] = useState(FIRST_ROWS);
  const now = useNow();
  const moment = tasks.every(isOver) ? 0 : now;
  const rows = useMemo(() => taskRows(tasks, closed, moment), [tasks, closed, moment]);
  const scale = useMemo(() => scaleOf(tasks, moment), [tasks, moment]);
  const selected = tasks.find((one) => one.path !== "" && one.path === chosen);
  const select = (path: string | undefined) =>
    void navigate({ search: ({ task: _, ...rest }) => (path && path !== chosen ? { ...rest, task: path } : rest), replace: true, resetScroll: false });
  const toggle = (id: string) => setClosed(closed.has(id) ? new Set([...closed].filter((one) => one !== id)) : new Set([...closed, id]));
  return (
    <div className={classes["split"]} data-open={selected !== undefined || undefined}>
      <div className={`panel ${classes["frame"] ?? ""}`}>
        <table className={classes["gantt"]} data-testid="timeline">
          <thead>
            <tr>
              <th scope="col">Task</th>
              <th scope="col">State</th>
              <th scope="col" className={classes["line"]}><Axis scale={scale} /></th>
              <th scope="col" className={classes["time"]}>Queued + ran</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, most).map((row) => (
              <Row key={row.task.task_id} row={row} scale={scale} chosen={row.task.path === chosen} open={!closed.has(row.task.task_id)} toggle={toggle} select={select} />
            ))}
          </tbody>
        </table>
        {rows.length > most && <button type="button" className={classes["more"]} onClick={() => setMost(most + FIRST_ROWS)}>Show {Math.min(FIRST_ROWS, rows.length - most)} more of {rows.length}</button>}
        <p className={classes["legend"]}><i data-part="queued" /> queued <i data-part="ran" /> ran{tasks.some((one) => !isOver(one)) && <><i data-part="running" /> running</>}</p>
      </div>
      {selected && <TaskPanel run={run} task={selected} close={() => select(undefined)} />}
    </div>
  );
}

function Axis({ scale }: { scale: Scale }) {
  const length = scale.to - scale.from;
  return (
    <span className={classes["axis"]}>
      <span className="unseen">Time line</span>
      {ticks(scale).map((tick) => <span key={tick} aria-hidden="true" style={{ left: `${(100 * tick) / length}%` }}>{tick === 0 ? "0" : span(tick)}</span>)}
    </span>
  );
}

interface RowProps {
  row: TaskRow;
  scale: Scale;
  chosen: boolean;
  open: boolean;
  toggle: (id: string) => void;
  select: (path: string) => void;
}

function Row({ row, scale, chosen, open, toggle, select }: RowProps) {
  const { task, label, depth, below, split } = row;
  return (
    <tr data-chosen={chosen || undefined} onClick={() => select(task.path)}>
      <td className={classes["task"]} style={{ paddingLeft: `${0.6 + Math.min(depth, 8) * 1.1}rem` }}>
        <span className={classes["label"]}>
          {below > 0 ? (
            <button type="button" className={classes["fold"]} aria-expanded={open} aria-label={`${open ? "Close" : "Open"} ${label}`} onClick={(event) => (event.stopPropagation(), toggle(task.task_id))}>
              <Icon name={open ? "down" : "right"} size={13} />
            </button>
          ) : (
            <span className={classes["fold"]} />
          )}
          <button type="button" className={classes["name"]} title={plain(task.path)} aria-pressed={chosen} onClick={(event) => (event.stopPropagation(), select(task.path))}><bdi>{plain(label)}</bdi></button>
          {below > 0 && !open && <span className="muted small">{below}</span>}
          {task.cached && <Tag>cached</Tag>}
        </span>
      </td>
      <td className={classes["state"]}><State name={task.state} /></td>
      <td className={classes["line"]}><Bar task={task} scale={scale} split={split} /></td>
      <td className={`tabular ${classes["time"] ?? ""}`}>{split ? <><span className="muted">{span(split.queued)} +</span> {span(split.running)}</> : <span className="muted">—</span>}</td>
    </tr>
  );
}

function Bar({ task, scale, split }: { task: Task; scale: Scale; split: TaskRow["split"] }) {
  const begin = task.created_at ?? task.started_at;
  if (!begin || !split) return null;
  const length = scale.to - scale.from;
  const left = Math.max(0, (100 * (Date.parse(begin) - scale.from)) / length);
  const queued = (100 * split.queued) / length;
  return (
    <span className={classes["track"]} aria-hidden="true">
      <span className={classes["queued"]} style={{ left: `${left}%`, width: `${queued}%` }} />
      <span className={classes["ran"]} data-tone={toneOf(task.state)} data-group={task.kind === "dag" || undefined} style={{ left: `min(${left + queued}%, 100% - 3px)`, width: `max(${(100 * split.running) / length}%, 3px)` }} />
    </span>
  );
}
