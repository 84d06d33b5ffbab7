import { listOf, oneOf } from "../../words/search";

export const MOST_RUNS = 5;

/** What the address of a comparison holds: the runs in their order, and whether what is the same is shown too. */
export interface CompareSearch {
  run?: string[] | undefined;
  all?: "yes" | undefined;
}

export function readCompareSearch(given: Record<string, unknown>): CompareSearch {
  const run = [...new Set(listOf(given["run"]))].slice(0, MOST_RUNS);
  return { ...(run.length > 0 && { run }), ...(oneOf(given["all"]) && { all: "yes" as const }) };
}
