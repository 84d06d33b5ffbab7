/** What runs used and what that cost. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { getJson, type Query } from "./http";
import type { Cost, Run, RunCost } from "./messages";
import { keys } from "./queries";

// Sums of months change with every run that ends: they are asked for at their own pace, sooner while some is not counted.
const AGAIN_MS = 30_000;
const SOON_MS = 5_000;

/** `query` holds the parameters of `GET /cost`. */
export function costQuery(query: Query) {
  return queryOptions({
    queryKey: [...keys.changing, "cost", query],
    queryFn: ({ signal }) => getJson<Cost>("/cost", query, signal),
    placeholderData: keepPreviousData,
    refetchInterval: (asked) => (asked.state.data?.pending ? SOON_MS : AGAIN_MS),
  });
}

/** What each task of a run used; of one that goes on, up to now. */
export function runCostQuery(run: Run) {
  return queryOptions({
    queryKey: [...keys.run(run.run_id), "cost"],
    queryFn: ({ signal }) => getJson<RunCost>(`/runs/${run.run_id}/cost`, {}, signal),
    refetchInterval: run.over ? false : AGAIN_MS,
  });
}
