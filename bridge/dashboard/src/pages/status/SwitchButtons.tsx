import { TextInput } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { postJson } from "../../api/http";
import type { BackendStatus } from "../../api/messages";
import { keys } from "../../api/queries";
import { useRefusal } from "../../api/session";
import { ActButton } from "../../parts/ActButton";
import { Ask } from "../../parts/Ask";
import { Icon } from "../../parts/Icon";
import { EVERY } from "../../words/roles";
import { count } from "../../words/text";

const EVERYWHERE = [EVERY];
type Change = "pause" | "drain" | "resume";
const TITLES: Record<Change, string> = { pause: "Pause", drain: "Drain", resume: "Resume" };

/** What a person can switch about a backend; each is asked about, for it concerns everybody. */
export function SwitchButtons({ backend }: { backend: BackendStatus }) {
  const [asking, setAsking] = useState<Change | null>(null);
  // What the window that closes has said stays in it until it is gone.
  const [asked, setAsked] = useState<Change>("pause");
  const [reason, setReason] = useState("");
  const client = useQueryClient();
  const change = useMutation({
    mutationFn: (what: Change) => {
      const path = `/backends/${encodeURIComponent(backend.name)}`;
      return what === "resume" ? postJson(`${path}:resume`) : postJson(`${path}:pause`, { drain: what === "drain", ...(reason.trim() && { reason: reason.trim() }) });
    },
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keys.status });
      setAsking(null);
      setReason("");
    },
  });
  const begin = (what: Change) => {
    change.reset();
    setAsked(what);
    setAsking(what);
  };
  const paused = backend.switch?.mode === "paused";
  return (
    <>
      {!backend.switch && <Choice what="pause" backend={backend} begin={begin} />}
      {(!backend.switch || paused) && <Choice what="drain" backend={backend} begin={begin} />}
      {backend.switch && <Choice what="resume" backend={backend} begin={begin} />}
      <Ask opened={asking !== null} close={() => { setAsking(null); }} title={`${TITLES[asked]} backend ${backend.name}?`} action={TITLES[asked]}
        act={() => { change.mutate(asked); }} busy={change.isPending} error={change.error}>
        <Told what={asked} backend={backend} />
        {asked !== "resume" && (
          <TextInput label="Reason" description="Whoever waits for a run is told." value={reason} maxLength={500} data-autofocus
            onChange={(event) => { setReason(event.currentTarget.value); }} />
        )}
      </Ask>
    </>
  );
}

function Choice({ what, backend, begin }: { what: Change; backend: BackendStatus; begin: (what: Change) => void }) {
  const refused = useRefusal("operate", EVERYWHERE);
  return (
    <ActButton refused={refused} variant="default" size="xs" onClick={() => { begin(what); }} aria-label={`${TITLES[what]} backend ${backend.name}`}
      leftSection={<Icon name={what === "resume" ? "RUNNING" : what === "drain" ? "down" : "PAUSED"} size={13} />}>
      {TITLES[what]}
    </ActButton>
  );
}

function Told({ what, backend }: { what: Change; backend: BackendStatus }) {
  if (what === "resume") {
    return <p>{backend.queued_runs > 0 ? `${count(backend.queued_runs, "run")} that ${backend.queued_runs === 1 ? "waits" : "wait"} will be sent, in turn.` : "New runs are sent again."}</p>;
  }
  return (
    <>
      <p>Nothing new is sent to it until it is resumed. Submissions are taken and wait in the queue; {backend.active_runs > 0 ? `the ${count(backend.active_runs, "run")} under way` : "runs under way"} go on and are followed.</p>
      {what === "drain" && <p>When nothing is under way there any more, this page, webhooks and <code>kfbridge backend drain</code> say so.</p>}
    </>
  );
}
