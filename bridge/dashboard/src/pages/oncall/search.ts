/** What the address of the On call page holds. */
import { oneOf } from "../../words/search";

export const WINDOWS = { "1h": "Last hour", "24h": "Last 24 hours", "7d": "Last 7 days" } as const;
export const USUAL_WINDOW = "24h";

export interface OnCallSearch {
  window?: string;
  project?: string;
}

export function readOnCallSearch(given: Record<string, unknown>): OnCallSearch {
  const window = oneOf(given["window"]);
  const project = oneOf(given["project"]);
  return { ...(window && window !== USUAL_WINDOW && { window }), ...(project && { project }) };
}
