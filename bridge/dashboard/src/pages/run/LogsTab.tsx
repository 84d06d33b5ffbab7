import { NativeSelect } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";

import { address } from "../../api/http";
import type { Run } from "../../api/messages";
import { tasksQuery } from "../../api/queries";
import { Lines } from "../../parts/feedback";
import { plain, stateWord } from "../../words/text";
import classes from "./LogsTab.module.css";
import { TaskLog } from "./TaskLog";

/** The log of one task, the failed one first. */
export default function LogsTab({ run }: { run: Run }) {
  const { task: wanted } = useSearch({ from: "/runs/$runId" });
  const navigate = useNavigate({ from: "/runs/$runId" });
  const tasks = useQuery(tasksQuery(run.run_id));
  if (tasks.data === undefined) return <Lines number={2} />;
  const logged = tasks.data.filter((one) => one.pod_name);
  const failed = logged.find((one) => one.path === run.error?.task) ?? logged.find((one) => one.state === "FAILED");
  const chosen = logged.find((one) => one.path === wanted) ?? failed ?? logged.findLast((one) => one.state === "RUNNING") ?? logged[0];
  if (!chosen) return <p className="muted">{run.over ? "No task of this run has a log." : "No task has begun yet."}</p>;
  return (
    <div className={classes["logs"]}>
      <div className={classes["bar"]}>
        <NativeSelect aria-label="Task" value={chosen.path} className={classes["choose"] ?? ""}
          onChange={(event) => void navigate({ search: (before) => ({ ...before, task: event.currentTarget.value }), replace: true, resetScroll: false })}
          data={logged.map((one) => ({ value: one.path, label: `${plain(one.path)} — ${stateWord(one.state)}` }))} />
        <a href={address(`/runs/${run.run_id}/logs`, { task: chosen.path })}>As text</a>
      </div>
      <TaskLog key={chosen.path} run={run} task={chosen} whole />
    </div>
  );
}
