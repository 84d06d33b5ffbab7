/** What whoever is on call asks for. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";

import { getJson } from "./http";
import type { OnCall } from "./messages";
import { keys } from "./queries";

// What is late or stuck becomes so without any event.
const AGAIN_MS = 30_000;

export function onCallQuery(window: string, project?: string) {
  return queryOptions({
    queryKey: [...keys.lists, "oncall", window, project],
    queryFn: ({ signal }) => getJson<OnCall>("/oncall", { window, project }, signal),
    placeholderData: keepPreviousData,
    refetchInterval: AGAIN_MS,
  });
}
