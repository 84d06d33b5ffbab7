/** Who sits here, and what they may do. */
import { queryOptions, useQuery } from "@tanstack/react-query";

import { type Action, refusal, refusalAnywhere } from "../words/roles";
import { getJson, postJson } from "./http";
import type { Session, SignedOut } from "./messages";

export function sessionQuery() {
  return queryOptions({
    queryKey: ["session"],
    queryFn: ({ signal }) => getJson<Session>("/session", {}, signal),
    staleTime: 60_000,
  });
}

/** Why they may not do that in each of the projects, `*` all together; `null` if they may. */
export function useRefusal(action: Action, projects: readonly string[]): string | null {
  const { data } = useQuery(sessionQuery());
  return refusal(data, action, projects);
}

/** The same for what is of any project. */
export function useRefusalAnywhere(action: Action): string | null {
  const { data } = useQuery(sessionQuery());
  return refusalAnywhere(data, action);
}

/** Ends the session, here and at the issuer, which the browser goes to. */
export async function signOut(): Promise<void> {
  const ended = await postJson<SignedOut>("/session:end");
  window.location.assign(ended.continue_at);
}
