import { listOf, oneOf } from "../../words/search";

/** What the address of the list of pipelines holds: its projects, all if none is named, and the place in the list. */
export interface PipelinesSearch {
  project?: string[] | undefined;
  cursor?: string | undefined;
}

export function readPipelinesSearch(given: Record<string, unknown>): PipelinesSearch {
  const project = listOf(given["project"]);
  const cursor = oneOf(given["cursor"]);
  return { ...(project.length > 0 && { project }), ...(cursor && { cursor }) };
}
