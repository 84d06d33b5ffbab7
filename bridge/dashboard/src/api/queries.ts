/** What the pages ask for, each as options of a query: `useQuery(runQuery(id))`. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { getJson, getText, type Query } from "./http";
import type { Artifact, Explanation, Metrics, Page, PlannedTask, Run, Status, Task } from "./messages";
import { withMoment } from "./since";

/**
 * Keys begin with what makes them stale: everything below `changing` is asked for again when the stream begins anew,
 * `lists` when any run changes, `run(id)` when that run does.
 */
export const keys = {
  changing: ["changing"] as const,
  lists: ["changing", "lists"] as const,
  status: ["changing", "status"] as const,
  run: (id: string) => ["changing", "run", id] as const,
};

export const PAGE_SIZE = 50;

/** A page of runs; `query` holds the parameters of `GET /runs`, and perhaps `since`. */
export function runsQuery(query: Query) {
  return queryOptions({
    queryKey: [...keys.lists, "runs", query],
    queryFn: ({ signal }) => getJson<Page<Run>>("/runs", { limit: PAGE_SIZE, ...withMoment(query, Date.now()) }, signal),
    placeholderData: keepPreviousData,
  });
}

export function runQuery(id: string) {
  return queryOptions({
    queryKey: [...keys.run(id), "run"],
    queryFn: ({ signal }) => getJson<Run>(`/runs/${id}`, {}, signal),
  });
}

export function tasksQuery(id: string) {
  return queryOptions({
    queryKey: [...keys.run(id), "tasks"],
    queryFn: async ({ signal }) => (await getJson<Page<Task>>(`/runs/${id}/tasks`, {}, signal)).items,
  });
}

/** What the compiled pipeline names; it never changes. */
export function planQuery(id: string) {
  return queryOptions({
    queryKey: ["plan", id],
    queryFn: async ({ signal }) => (await getJson<Page<PlannedTask>>(`/runs/${id}/plan`, {}, signal)).items,
    staleTime: Infinity,
  });
}

/** The newest good run of the same pipeline and project before a run; `null` if there is none. */
export function lastGoodQuery(run: Run) {
  const query = { pipeline: run.pipeline.name, project: run.project, good: true, created_before: run.created_at, limit: 1 };
  return queryOptions({
    queryKey: [...keys.run(run.run_id), "last good"],
    queryFn: async ({ signal }) => (await getJson<Page<Run>>("/runs", query, signal)).items[0] ?? null,
  });
}

export function metricsQuery(id: string) {
  return queryOptions({
    queryKey: [...keys.run(id), "metrics"],
    queryFn: ({ signal }) => getJson<Metrics>(`/runs/${id}/metrics`, {}, signal),
  });
}

export function artifactsQuery(id: string) {
  return queryOptions({
    queryKey: [...keys.run(id), "artifacts"],
    queryFn: async ({ signal }) => (await getJson<Page<Artifact>>(`/runs/${id}/artifacts`, {}, signal)).items,
  });
}

export function explainQuery(id: string) {
  return queryOptions({
    queryKey: [...keys.run(id), "explain"],
    queryFn: ({ signal }) => getJson<Explanation>(`/runs/${id}/explain`, {}, signal),
  });
}

/** The log of a task; not below `run`, for it grows without any event. */
export function logQuery(id: string, task: string) {
  return queryOptions({
    queryKey: ["log", id, task],
    queryFn: ({ signal }) => getText(`/runs/${id}/logs`, { task }, signal),
    staleTime: 0,
  });
}

export function statusQuery() {
  return queryOptions({
    queryKey: keys.status,
    queryFn: ({ signal }) => getJson<Status>("/status", {}, signal),
    refetchInterval: 10_000,
  });
}
