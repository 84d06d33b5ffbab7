import { useQuery } from "@tanstack/react-query";

import { usePolling } from "../../api/live";
import type { Status } from "../../api/messages";
import { statusQuery } from "../../api/queries";
import { sessionQuery, useRefusalAnywhere } from "../../api/session";
import { quarantineQuery, webhooksQuery } from "../../api/statusQueries";
import { Facts } from "../../parts/Facts";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { useTitle } from "../../parts/useTitle";
import { sentence } from "../../words/text";
import { span } from "../../words/time";
import { BackendCard } from "./BackendCard";
import { Delivery } from "./Delivery";
import { Quarantine } from "./Quarantine";
import classes from "./StatusPage.module.css";
import { troublesOf } from "./troubles";

/** How the bridge gets on: with its backends, its database, and those it tells. */
export function StatusPage() {
  useTitle("Status");
  const polling = usePolling();
  const status = useQuery({ ...statusQuery(), ...(polling && { refetchInterval: polling }) });
  const quarantine = useQuery(quarantineQuery());
  const hidden = useRefusalAnywhere("operate");
  // Not before it is known who asks: whoever may not see them is not to be refused on opening the page.
  const known = !useQuery(sessionQuery()).isPending;
  const webhooks = useQuery({ ...webhooksQuery(), enabled: known && hidden === null });
  if (status.isPending) return <Lines number={4} height={120} />;
  if (status.data === undefined) return <Trouble error={status.error} retry={() => void status.refetch()} what="The status" />;
  const troubles = troublesOf(status.data, quarantine.data ?? [], webhooks.data ?? []);
  return (
    <>
      <div className={classes["title"]}>
        <h1>Status</h1>
        <p className="muted small tabular">kfbridge {status.data.version}</p>
      </div>
      {status.isError && <Notice tone="bad">What is shown could not be brought up to date: {status.error.message}.</Notice>}
      <Summary troubles={troubles} />
      <section id="backends" aria-labelledby="backends-title" className={classes["section"]}>
        <h2 id="backends-title">Backends</h2>
        {status.data.backends.length === 0 ? (
          <p className="muted">No backend is configured: give the service --kfp-url or a file of backends.</p>
        ) : (
          <div className={classes["cards"]}>{status.data.backends.map((one) => <BackendCard key={one.name} backend={one} />)}</div>
        )}
      </section>
      <section id="quarantine" aria-labelledby="quarantine-title" className={classes["section"]}>
        <h2 id="quarantine-title">Set aside</h2>
        {quarantine.isPending ? <Lines number={1} /> : quarantine.data ? <Quarantine items={quarantine.data} /> : <Notice tone="bad">{quarantine.error.message}</Notice>}
      </section>
      <section id="delivery" aria-labelledby="delivery-title" className={classes["section"]}>
        <h2 id="delivery-title">Who is told</h2>
        {hidden !== null ? <p className="muted">Operators see who is told of events.</p> : webhooks.isPending ? <Lines number={1} /> : webhooks.data ? <Delivery webhooks={webhooks.data} emission={status.data.openlineage} /> : <Notice tone="bad">{webhooks.error.message}</Notice>}
      </section>
      <section id="installation" aria-labelledby="installation-title" className={classes["section"]}>
        <h2 id="installation-title">This installation</h2>
        <Installation status={status.data} />
      </section>
    </>
  );
}

function Summary({ troubles }: { troubles: ReturnType<typeof troublesOf> }) {
  if (troubles.length === 0) {
    return <p className={classes["well"]} role="status"><Icon name="SUCCEEDED" /> Everything answers, nothing is set aside, everybody is told.</p>;
  }
  return (
    <ul className={`panel ${classes["troubles"] ?? ""}`} aria-label="What needs attention">
      {troubles.map((one) => (
        <li key={one.key} data-tone={one.tone}>
          <Icon name="warning" />
          <a href={`#${one.at}`}>{sentence(one.text)}</a>
        </li>
      ))}
    </ul>
  );
}

function Installation({ status }: { status: Status }) {
  const { outbox } = status;
  return (
    <div className={`panel ${classes["padded"] ?? ""}`}>
      <Facts label="This installation" of={[
        ["Database", status.database === "postgresql" ? "PostgreSQL" : "SQLite"],
        ["Schema", <span key="schema" className="mono">{status.schema_revision ?? "unknown"}</span>],
        ["Writes", status.read_only ? "stopped: the disk is full" : "taken"],
        ["Workers here", status.workers === 0 ? "none in this process" : status.workers],
        ["Runs to mirror", status.mirror_backlog.toLocaleString("en")],
        ["Events so far", outbox.last_number.toLocaleString("en")],
        ["Sequencer", outbox.unnumbered === 0 ? "up to date" : `${outbox.unnumbered.toLocaleString("en")} events, ${span((outbox.oldest_seconds ?? 0) * 1000)} behind`],
      ]} />
    </div>
  );
}
