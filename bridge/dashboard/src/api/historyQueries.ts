/** What the pages of a pipeline, of runs beside each other and of the lineage ask for. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { getJson, type Query } from "./http";
import type { Comparison, LineageGraph, ListedPipeline, Page, Pipeline, Trend } from "./messages";
import { keys } from "./queries";

const PIPELINES_A_PAGE = 25;
/** How many columns the grid has. */
export const GRID_RUNS = 30;
const STRIP_RUNS = 12;
const STRIP_MS = 15_000;

export function pipelinesQuery(query: Query) {
  return queryOptions({
    queryKey: [...keys.changing, "pipelines", query],
    queryFn: ({ signal }) => getJson<Page<ListedPipeline>>("/pipelines", { limit: PIPELINES_A_PAGE, ...query }, signal),
    placeholderData: keepPreviousData,
  });
}

export function pipelineQuery(name: string, project: string, cursor?: string) {
  const query = { project, cursor, limit: GRID_RUNS };
  return queryOptions<Pipeline>({
    queryKey: [...keys.lists, "pipeline", name, query],
    queryFn: ({ signal }) => getJson<Pipeline>(`/pipelines/${encodeURIComponent(name)}`, query, signal),
    placeholderData: (before) => (before?.name === name && before.project === project ? before : undefined),
  });
}

/** The newest runs of one of many pipelines: asked for at its own pace, for a page of them would ask with every event. */
export function pipelineStripQuery(name: string, project: string) {
  return queryOptions({
    queryKey: [...keys.changing, "pipeline strip", name, project],
    queryFn: ({ signal }) => getJson<Pipeline>(`/pipelines/${encodeURIComponent(name)}`, { project, limit: STRIP_RUNS }, signal),
    refetchInterval: STRIP_MS,
  });
}

export function trendQuery(pipeline: string, query: Query & { name: string }) {
  return queryOptions({
    queryKey: [...keys.lists, "trend", pipeline, query],
    queryFn: ({ signal }) => getJson<Trend>(`/pipelines/${encodeURIComponent(pipeline)}/metrics`, query, signal),
    placeholderData: keepPreviousData,
  });
}

export function compareQuery(runs: readonly string[]) {
  return queryOptions({
    queryKey: [...keys.lists, "compare", runs],
    queryFn: ({ signal }) => getJson<Comparison>("/compare", { run: runs }, signal),
    placeholderData: keepPreviousData,
    enabled: runs.length > 1,
  });
}

/** The graph around a node. What has been is not changed by new runs, so it is asked for once. */
export function lineageQuery(node: string, depth: number, nodes: number) {
  return queryOptions({
    queryKey: ["lineage", node, depth, nodes],
    queryFn: ({ signal }) => getJson<LineageGraph>("/lineage", { node, depth, nodes }, signal),
    staleTime: 60_000,
  });
}
