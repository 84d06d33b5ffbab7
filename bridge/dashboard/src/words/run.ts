/** What a run's fields mean together. */
import type { Origin, Run } from "../api/messages";

/** Where the time of a run or task went, in milliseconds; `ongoing` says that the last part still grows. */
export interface Split {
  queued: number;
  running: number;
  ongoing: boolean;
}

interface Timed {
  created_at: string | null;
  started_at: string | null;
  finished_at: string | null;
}

/** How long something waited and ran. `null` if neither is known. */
export function splitOf(one: Timed, over: boolean, now: number): Split | null {
  const created = one.created_at ? Date.parse(one.created_at) : null;
  const started = one.started_at ? Date.parse(one.started_at) : null;
  const finished = one.finished_at ? Date.parse(one.finished_at) : over ? null : now;
  if (created === null && started === null) return null;
  const ongoing = !over && one.finished_at === null;
  const begin = started ?? finished;
  const queued = created !== null && begin !== null ? Math.max(0, begin - created) : 0;
  const running = started !== null && finished !== null ? Math.max(0, finished - started) : 0;
  if (started === null && one.finished_at !== null) return { queued: 0, running: queued, ongoing };
  return { queued, running, ongoing };
}

/** A task instance of Airflow by the names that people know it by; `null` for other origins. */
export function jobOf(origin: Origin): string | null {
  if (!origin.dag_id) return null;
  const mapped = origin.map_index >= 0 ? `[${origin.map_index}]` : "";
  return origin.task_id ? `${origin.dag_id}.${origin.task_id}${mapped}` : origin.dag_id;
}

/** Who asked for a run, in a few words. */
export function askedBy(run: Run): string {
  const known = jobOf(run.origin) ?? run.origin.user ?? run.origin.scheduler;
  return known ?? (run.submission_key ? "a direct submission" : "found on the backend");
}

/** Reasons that say something each: two components with the same image have the same to say. */
export function distinct<T extends { detail: string }>(reasons: readonly T[]): T[] {
  return [...new Map(reasons.map((one) => [one.detail, one])).values()];
}

/** How well a run can be had again, as a colour family; the word tells it, too. */
export const GRADE_TONES = { exact: "good", "same-spec": "wait", impossible: "bad" } as const;

/** Whether the run may still be stopped. */
export function canCancel(run: Run): boolean {
  return !run.over && run.cancel_requested_at === null && !["ENDED", "REJECTED", "ABANDONED", "LOST"].includes(run.phase);
}

/**
 * The command that clears the Airflow task behind a run, which is how such a run is tried again, with what comes after
 * it, which failed with it. `airflow tasks clear`
 * finds task instances by their logical date alone, which an asset-triggered DagRun has none of: those are cleared
 * through Airflow's API.
 */
export function clearCommand(run: Run): string | null {
  const { scheduler, dag_id: dag, dag_run_id: dagRun, task_id: task, logical_date: date, map_index: map } = run.origin;
  if (scheduler !== "airflow" || !dag || !task || !dagRun) return null;
  if (date && map < 0) {
    return `airflow tasks clear ${quote(dag)} -t ${quote(`^${task}$`)} -s ${quote(date)} -e ${quote(date)} -d -y`;
  }
  const place = run.links.scheduler?.split("/dags/")[0] ?? "$AIRFLOW_URL";
  const tasks = map < 0 ? [task] : [[task, map]];
  const body = { dry_run: false, only_failed: false, reset_dag_runs: true, include_downstream: true, dag_run_id: dagRun, task_ids: tasks };
  const url = `${place}/api/v2/dags/${encodeURIComponent(dag)}/clearTaskInstances`;
  const headers = `-H "Authorization: Bearer $AIRFLOW_TOKEN" -H "Content-Type: application/json"`;
  return `curl -X POST "${url}" ${headers} -d ${quote(JSON.stringify(body))}`;
}

function quote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/** The command that makes the run again: same pipeline, arguments, data and gate, graded. */
export function reproduceCommand(run: Run, url: string): string {
  return `KFBRIDGE_URL=${url} kfbridge reproduce ${run.run_id}`;
}
