import type { Emission, Webhook } from "../../api/messages";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { plain } from "../../words/text";
import classes from "./StatusPage.module.css";

/** Who is told of events, and how far behind they are. */
export function Delivery({ webhooks, emission }: { webhooks: readonly Webhook[]; emission: Emission | null }) {
  if (webhooks.length === 0 && !emission) {
    return <p className="muted">Nobody: there is no webhook (<code>kfbridge webhooks add URL</code>) and no OpenLineage consumer (<code>KFBRIDGE_OPENLINEAGE_URL</code>).</p>;
  }
  return (
    <ul className={`panel ${classes["rows"] ?? ""}`} aria-label="Who is told of events">
      {emission && (
        <Told name="OpenLineage" url={emission.url} since={emission.failing_since} error={emission.last_error} active
          counts={[["runs waiting", emission.waiting_runs], ["events unread", emission.unread_events], ["runs given up", emission.dead_runs]]} />
      )}
      {webhooks.map((one) => (
        <Told key={one.webhook_id} name={one.description || "Webhook"} url={one.url} since={one.failing_since} error={one.last_error} active={one.active}
          about={one.types.length > 0 ? one.types.join(", ") : "every event"}
          counts={[["pending", one.deliveries["pending"] ?? 0], ["delivered", one.deliveries["delivered"] ?? 0], ["given up", one.deliveries["dead"] ?? 0]]} />
      ))}
    </ul>
  );
}

interface ToldProps {
  name: string;
  url: string;
  about?: string;
  active: boolean;
  since: string | null;
  error: string | null;
  counts: readonly (readonly [string, number])[];
}

function Told({ name, url, about, active, since, error, counts }: ToldProps) {
  return (
    <li>
      <div>
        <p className={classes["line"]}>
          <strong><bdi>{plain(name)}</bdi></strong>
          {!active ? <Tag>off</Tag> : since ? <Tag tone="bad">failing</Tag> : <Tag tone="good">takes messages</Tag>}
          <bdi className="mono small muted">{plain(url)}</bdi>
        </p>
        {about && <p className="muted small">{about}</p>}
        {since && <p className={classes["reason"]}>Since <When at={since} />{error && <>: <bdi>{plain(error)}</bdi></>}</p>}
      </div>
      <dl className={classes["counts"]}>
        {counts.map(([what, number]) => <div key={what}><dt>{what}</dt><dd>{number.toLocaleString("en")}</dd></div>)}
      </dl>
    </li>
  );
}
