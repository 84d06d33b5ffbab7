import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";

import type { Run, Task } from "../../api/messages";
import { logQuery } from "../../api/queries";
import { Lines, Trouble } from "../../parts/feedback";
import { LogTail } from "./LogTail";
import { isOver } from "./tasks";

const FOLLOW_MS = 2000;
const SHORT_LINES = 40;

/** A task's log; it is followed while the task goes on. `whole` shows all that the backend holds, else its end. */
export function TaskLog({ run, task, whole = false, children }: { run: Run; task: Task; whole?: boolean; children?: ReactNode }) {
  const going = !isOver(task);
  const log = useQuery({ ...logQuery(run.run_id, task.path), refetchInterval: going ? FOLLOW_MS : false });
  if (log.data === undefined) {
    return log.isPending ? <Lines number={1} height={120} /> : <Trouble error={log.error} retry={() => void log.refetch()} what="The log" />;
  }
  const lines = log.data.trimEnd().split("\n");
  if (log.data.trim() === "") return <p className="muted">{going ? "Nothing was logged yet." : "The log is empty, or its pod is gone."}</p>;
  const shown = whole ? lines : lines.slice(-SHORT_LINES);
  const title = going ? "Log, followed" : shown.length < lines.length ? `Log, last ${shown.length} of ${lines.length} lines` : "Log";
  return <LogTail lines={shown} title={title} tall={whole}>{children}</LogTail>;
}
