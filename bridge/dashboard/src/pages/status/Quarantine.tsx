import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { postJson } from "../../api/http";
import type { Quarantined } from "../../api/messages";
import { keys } from "../../api/queries";
import { useRefusal } from "../../api/session";
import { ActButton } from "../../parts/ActButton";
import { Notice } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { count, plain } from "../../words/text";
import classes from "./StatusPage.module.css";

const WORK: Readonly<Record<string, string>> = {
  follow: "submitting or following", mirror: "reading tasks and artifacts", waiter: "telling who waits", emit: "OpenLineage events",
  sweep: "taking in what the backend told", list: "a row that is no run",
};

/** Work that failed again and again for a reason of its own, and letting it be tried again. */
export function Quarantine({ items }: { items: readonly Quarantined[] }) {
  const client = useQueryClient();
  const [done, setDone] = useState(0);
  const release = useMutation({
    mutationFn: async (numbers: readonly number[]) => {
      setDone(0);
      for (const number of numbers) {
        await postJson(`/quarantine/${number}:release`);
        setDone((before) => before + 1);
      }
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.status }),
  });
  const refused = useRefusal("operate", items.map((one) => one.project));
  if (items.length === 0) return <p className="muted">Nothing is set aside: no work failed again and again for a reason of its own.</p>;
  const busy = release.isPending ? release.variables : [];
  return (
    <>
      {release.error && <Notice tone="bad">Not released: {release.error.message}.</Notice>}
      {items.length > 1 && (
        <p className={classes["all"]}>
          <ActButton refused={refused} variant="default" size="xs" loading={busy.length > 1} onClick={() => { release.mutate(items.map((one) => one.number)); }} leftSection={<Icon name="retry" size={14} />}>
            Release all {items.length}
          </ActButton>
          {busy.length > 1 && <span className="muted small tabular" role="status">{done} of {busy.length}</span>}
        </p>
      )}
      <ul className={`panel ${classes["rows"] ?? ""}`} aria-label="Work that is set aside">
        {items.map((one) => (
          <li key={one.number}>
            <div>
              <p className={classes["line"]}>
                <Tag tone="wait">{WORK[one.work] ?? one.work}</Tag>
                {one.run_id ? <Link to="/runs/$runId" params={{ runId: one.run_id }}>run {one.run_id.slice(0, 8)}</Link> : <bdi className="mono">{plain(one.subject)}</bdi>}
                <span className="muted small">backend <bdi>{plain(one.backend)}</bdi>, <When at={one.since} />, after {count(one.failures, "failure")}</span>
              </p>
              <p className={classes["reason"]}><bdi>{plain(one.reason)}</bdi></p>
            </div>
            <Release one={one} busy={busy.includes(one.number)} release={() => { release.mutate([one.number]); }} />
          </li>
        ))}
      </ul>
    </>
  );
}

function Release({ one, busy, release }: { one: Quarantined; busy: boolean; release: () => void }) {
  const refused = useRefusal("operate", [one.project]);
  return (
    <ActButton refused={refused} variant="default" size="xs" loading={busy} onClick={release} aria-label={`Release ${one.work} of ${one.subject}`}>
      Release
    </ActButton>
  );
}
