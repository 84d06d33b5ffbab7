import { oneOf } from "../../words/search";

export const TABS = ["timeline", "graph", "metrics", "artifacts", "parameters", "logs", "events", "explain"] as const;
export type Tab = (typeof TABS)[number];

/** What the address of the Run page holds: the part that is shown and the task that is looked at, by its path. */
export interface RunSearch {
  tab?: Tab;
  task?: string;
}

export function readRunSearch(given: Record<string, unknown>): RunSearch {
  const tab = TABS.find((one) => one === oneOf(given["tab"]));
  const task = oneOf(given["task"]);
  return { ...(tab && { tab }), ...(task && { task }) };
}
