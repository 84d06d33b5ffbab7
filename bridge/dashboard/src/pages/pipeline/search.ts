import { oneOf } from "../../words/search";

/** How many runs a trend may show. */
export const LENGTHS = ["30", "100", "200"] as const;

/** What the address of a pipeline's page holds: whose it is, which runs the grid shows, and what the trend is of. */
export interface PipelineSearch {
  project?: string | undefined;
  cursor?: string | undefined;
  metric?: string | undefined;
  /** `median`: judged by the good runs before, even if the pipeline's gate judges the number. */
  rule?: "median" | undefined;
  length?: (typeof LENGTHS)[number] | undefined;
}

export function readPipelineSearch(given: Record<string, unknown>): PipelineSearch {
  const found: PipelineSearch = {};
  for (const name of ["project", "cursor", "metric"] as const) {
    const value = oneOf(given[name]);
    if (value !== undefined) found[name] = value;
  }
  if (oneOf(given["rule"]) === "median") found.rule = "median";
  const length = LENGTHS.find((one) => one === oneOf(given["length"]));
  return length ? { ...found, length } : found;
}
