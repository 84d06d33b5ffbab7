/** Live updates: what the event stream tells makes what is shown stale, and only that is asked for again. */
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";

import { API, askWhether } from "./http";
import type { BridgeEvent } from "./messages";
import { keys } from "./queries";
import { isSignedOut, onSignedOut, useSignedOut } from "./signedOut";

export type LiveState = "connecting" | "live" | "polling" | "paused" | "ended";

/** How often pages ask by themselves while the stream is away, and how often many events lead to a question. */
export const POLL_MS = 3000;
const GATHER_MS = 400;
export const EVENT_TYPES = [
  "run.created", "run.found", "run.changed", "run.mirrored", "run.ended", "run.settled", "run.waiting",
  "run.rejected", "run.lost", "run.revived",
  "backend.paused", "backend.resumed", "backend.drained",
] as const;

let state: LiveState = "connecting";
let paused = false;
const listeners = new Set<() => void>();

function setState(next: LiveState): void {
  if (next === state) return;
  state = next;
  listeners.forEach((one) => one());
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/** How the page is kept up to date now. */
export function useLiveState(): LiveState {
  return useSyncExternalStore(subscribe, () => state);
}

/** How often a query that may change asks by itself, in milliseconds: never, while the stream tells. */
export function usePolling(active = true): number | false {
  const now = useLiveState();
  const out = useSignedOut();
  return active && !out && now === "polling" ? POLL_MS : false;
}

let connect: () => void = () => undefined;

export function setPaused(value: boolean): void {
  paused = value;
  connect();
}

/** Holds the stream while the page is seen: browsers allow an address six connections over all of its tabs. */
export function useLiveUpdates(): void {
  const client = useQueryClient();
  useEffect(() => {
    let source: EventSource | undefined;
    const gather = gatherer(client);
    connect = () => {
      source?.close();
      source = undefined;
      if (paused || document.hidden || isSignedOut()) {
        if (paused) setState("paused");
        else if (isSignedOut()) setState("ended");
        return;
      }
      source = open(gather, () => void client.invalidateQueries({ queryKey: keys.changing }));
    };
    document.addEventListener("visibilitychange", connect);
    const forget = onSignedOut(connect);
    connect();
    return () => {
      forget();
      document.removeEventListener("visibilitychange", connect);
      source?.close();
      connect = () => undefined;
    };
  }, [client]);
}

function open(tell: (event: BridgeEvent) => void, catchUp: () => void): EventSource {
  const source = new EventSource(`${API}/events`, { withCredentials: true });
  // Between the last question and the stream's beginning something may have changed.
  source.onopen = () => {
    setState("live");
    catchUp();
  };
  source.onerror = () => {
    setState("polling");
    // The stream is closed for good by an answer that is none, which it does not tell: it may be the session's end.
    if (source.readyState === EventSource.CLOSED) setTimeout(() => void askWhether().then(() => connect()), POLL_MS);
  };
  const take = (message: MessageEvent<string>) => tell(JSON.parse(message.data) as BridgeEvent);
  for (const type of EVENT_TYPES) source.addEventListener(type, take as EventListener);
  return source;
}

/** Collects events for a moment: a thousand runs that end together are one question. */
function gatherer(client: QueryClient): (event: BridgeEvent) => void {
  const touched = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | undefined;
  let last = 0;
  const flush = () => {
    timer = undefined;
    last = Date.now();
    const runs = [...touched];
    touched.clear();
    void client.invalidateQueries({ queryKey: keys.lists });
    for (const run of runs) void client.invalidateQueries({ queryKey: keys.run(run) });
  };
  return (event) => {
    if (event.type.startsWith("backend.")) void client.invalidateQueries({ queryKey: keys.status });
    if (event.run_id) touched.add(event.run_id);
    timer ??= setTimeout(flush, Date.now() - last > GATHER_MS * 2 ? 50 : GATHER_MS);
  };
}
