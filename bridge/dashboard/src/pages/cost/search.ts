/** What the address of the Cost page holds. */
import { oneOf } from "../../words/search";
import { COLUMNS, type Column } from "./rows";

export const KINDS = { pipeline: "Pipeline", team: "Team", project: "Project", month: "Month" } as const;
export type Kind = keyof typeof KINDS;

/** Months as `2026-08`; without any it is this one. `sort`: a column, with `-` before it the greatest first. */
export interface CostSearch {
  by?: Kind;
  from?: string;
  to?: string;
  project?: string;
  sort?: Column | `-${Column}`;
}

const MONTH = /^[12]\d{3}-(0[1-9]|1[0-2])$/;

export function isMonth(text: string): boolean {
  return MONTH.test(text);
}

export function readCostSearch(given: Record<string, unknown>): CostSearch {
  const by = oneOf(given["by"]);
  const from = oneOf(given["from"]);
  const to = oneOf(given["to"]);
  const project = oneOf(given["project"]);
  const sort = oneOf(given["sort"]);
  return {
    ...(by && by !== "pipeline" && by in KINDS && { by: by as Kind }),
    ...(from && isMonth(from) && { from }),
    ...(to && isMonth(to) && { to }),
    ...(project && { project }),
    ...(sort && COLUMNS.some((one) => one === sort.replace(/^-/, "")) && { sort: sort as Column | `-${Column}` }),
  };
}
