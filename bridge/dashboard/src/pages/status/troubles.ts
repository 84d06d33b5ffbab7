/** What of the status somebody should look at. */
import type { BackendStatus, Quarantined, Status, Webhook } from "../../api/messages";
import { count } from "../../words/text";

export interface Trouble {
  key: string;
  tone: "bad" | "wait";
  text: string;
  /** The section that tells more. */
  at: string;
}

// An event is numbered within a second; beyond this nobody numbers them.
const LATE_SECONDS = 30;

export function troublesOf(status: Status, quarantined: readonly Quarantined[], webhooks: readonly Webhook[]): Trouble[] {
  const found: Trouble[] = [];
  const add = (tone: Trouble["tone"], text: string, at: string) => found.push({ key: `${at} ${text}`, tone, text, at });
  if (status.read_only) add("bad", status.read_only, "installation");
  for (const backend of status.backends) backendTroubles(backend).forEach(([tone, text]) => { add(tone, text, "backends"); });
  if ((status.outbox.oldest_seconds ?? 0) > LATE_SECONDS) add("bad", `${count(status.outbox.unnumbered, "event")} not told yet: no worker numbers them`, "installation");
  if (quarantined.length > 0) add("wait", `${count(quarantined.length, "piece")} of work set aside`, "quarantine");
  const failing = webhooks.filter((one) => one.failing_since !== null);
  if (failing.length > 0) add("wait", `${count(failing.length, "webhook")} not taking messages`, "delivery");
  if (status.openlineage?.failing_since) add("wait", "the OpenLineage consumer does not take events", "delivery");
  return found;
}

function backendTroubles(backend: BackendStatus): [Trouble["tone"], string][] {
  const found: [Trouble["tone"], string][] = [];
  if (!backend.reachable) found.push(["bad", `backend ${backend.name} does not answer`]);
  if (backend.switch) found.push(["wait", `backend ${backend.name} is ${backend.switch.mode}`]);
  if (backend.watch?.state === "off") found.push(["wait", `the watch on backend ${backend.name} is off`]);
  return found;
}
