/** What the pages of artifacts ask for. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { getHead, getJson, type Query } from "./http";
import type { Artifact, ArtifactBrief, Page } from "./messages";
import { keys } from "./queries";

export const ARTIFACTS_PAGE = 50;
/** So much of a content is looked at for its preview. */
export const PREVIEW_BYTES = 64 * 1024;

/** A page of artifacts; `query` holds the parameters of `GET /artifacts`. */
export function artifactListQuery(query: Query) {
  return queryOptions({
    queryKey: [...keys.lists, "artifacts", query],
    queryFn: ({ signal }) => getJson<Page<ArtifactBrief>>("/artifacts", { limit: ARTIFACTS_PAGE, ...query }, signal),
    placeholderData: keepPreviousData,
  });
}

export function artifactQuery(id: string) {
  return queryOptions({
    queryKey: [...keys.lists, "artifact", id],
    queryFn: ({ signal }) => getJson<Artifact>(`/artifacts/${id}`, {}, signal),
  });
}

/** The beginning of an artifact's content; what was written once stays. */
export function contentQuery(id: string) {
  return queryOptions({
    queryKey: ["content", id],
    queryFn: ({ signal }) => getHead(`/artifacts/${id}/content`, PREVIEW_BYTES, signal),
  });
}
