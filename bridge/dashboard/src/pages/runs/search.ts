/** What the address of the Runs page holds: the filters of `GET /runs` by their own names, and what only the page knows. */
import type { Query } from "../../api/http";
import { listOf, oneOf } from "../../words/search";

export const ONE = [
  "text", "pipeline", "experiment", "backend", "dag_id", "dag_run_id", "task_id", "map_index", "scheduler", "team", "user",
  "submission_key", "good", "created_after", "created_before", "finished_after", "finished_before", "since", "sort",
] as const;
export const MANY = ["state", "phase", "project", "metric", "label", "ids"] as const;

export type OneName = (typeof ONE)[number];
export type ManyName = (typeof MANY)[number];
/** `since` is a length of time before now, such as `24h`; `cursor` and `at` say which page, and how many runs come before. */
export type RunsSearch = { [K in OneName | "cursor" | "at"]?: string } & { [K in ManyName]?: string[] };

export function readRunsSearch(given: Record<string, unknown>): RunsSearch {
  const found: RunsSearch = {};
  for (const name of [...ONE, "cursor", "at"] as const) {
    const value = oneOf(given[name]);
    if (value !== undefined) found[name] = value;
  }
  for (const name of MANY) {
    const values = listOf(given[name]);
    if (values.length > 0) found[name] = values;
  }
  return found;
}

export const SPANS = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days" } as const;
/** The parameters of `runsQuery` that a search means. */
export function toQuery({ at: _, ...rest }: RunsSearch): Query {
  return { ...rest, metrics: 3 };
}

/** The filters alone, without the place in the list. */
export function filtersOf(search: RunsSearch): RunsSearch {
  const { cursor: _, at: __, ...filters } = search;
  return filters;
}

export function hasFilters(search: RunsSearch): boolean {
  const { sort: _, ...filters } = filtersOf(search);
  return Object.keys(filters).length > 0;
}

/** The states that a run goes through before its end. */
export const ACTIVE = ["PENDING", "RUNNING", "CANCELING", "PAUSED"];

/** The groups of states to choose from; `custom` stands for any other combination in the address. */
export const STATE_GROUPS = [
  { value: "all", label: "All", states: [] },
  { value: "active", label: "Active", states: ACTIVE },
  { value: "failed", label: "Failed", states: ["FAILED"] },
  { value: "succeeded", label: "Succeeded", states: ["SUCCEEDED"] },
  { value: "canceled", label: "Canceled", states: ["CANCELED"] },
] as const;

export function stateGroup(states: readonly string[] | undefined): string {
  const given = [...(states ?? [])].map((one) => one.toUpperCase()).sort().join();
  return STATE_GROUPS.find((group) => [...group.states].sort().join() === given)?.value ?? "custom";
}
