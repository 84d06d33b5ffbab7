/** What the Status page asks for beside the status itself. */
import { queryOptions } from "@tanstack/react-query";

import { getJson } from "./http";
import type { Page, Quarantined, Webhook } from "./messages";
import { keys } from "./queries";

const AGAIN_MS = 15_000;

/** What is set aside, the oldest first. */
export function quarantineQuery() {
  return queryOptions({
    queryKey: [...keys.status, "quarantine"],
    queryFn: async ({ signal }) => (await getJson<Page<Quarantined>>("/quarantine", {}, signal)).items,
    refetchInterval: AGAIN_MS,
  });
}

/** Who is told of events, and what is owed to them. */
export function webhooksQuery() {
  return queryOptions({
    queryKey: [...keys.status, "webhooks"],
    queryFn: async ({ signal }) => (await getJson<Page<Webhook>>("/webhooks", {}, signal)).items,
    refetchInterval: AGAIN_MS,
  });
}
