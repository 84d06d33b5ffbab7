import { useEffect, useState } from "react";

import { address } from "../../api/http";
import { EVENT_TYPES } from "../../api/live";
import type { BridgeEvent, Run } from "../../api/messages";
import { Tag, toneOf } from "../../parts/State";
import { exact } from "../../words/time";
import { plain, spaced } from "../../words/text";
import classes from "./EventsTab.module.css";

/** What happened to the run, as the outbox tells it, from the beginning and on as it happens. */
export default function EventsTab({ run }: { run: Run }) {
  const [events, setEvents] = useState<readonly BridgeEvent[]>([]);
  const [opened, setOpened] = useState(false);
  useEffect(() => {
    const source = new EventSource(address("/events", { run_id: run.run_id, after: 0 }), { withCredentials: true });
    const seen = new Set<number>();
    source.onopen = () => setOpened(true);
    const take = (message: MessageEvent<string>) => {
      const event = JSON.parse(message.data) as BridgeEvent;
      if (seen.has(event.number)) return;
      seen.add(event.number);
      setEvents((before) => [event, ...before]);
    };
    for (const type of EVENT_TYPES) source.addEventListener(type, take as EventListener);
    return () => source.close();
  }, [run.run_id]);
  if (events.length === 0) return <p className="muted">{opened ? "No events of this run are kept any more, or none came yet." : "Reading …"}</p>;
  return (
    <ol className={`panel ${classes["events"] ?? ""}`} reversed start={events.length}>
      {events.map((event) => (
        <li key={event.number}>
          <time className="tabular muted" dateTime={event.time}>{exact(event.time)}</time>
          <strong>{spaced(event.type.replace("run.", ""))}</strong>
          <span className={classes["facts"]}>{facts(event).map(([name, value]) => <Fact key={name} name={name} value={value} />)}</span>
        </li>
      ))}
    </ol>
  );
}

const TOLD = ["state", "phase", "mirror", "waiting", "error", "reason"];

function facts(event: BridgeEvent): [string, string][] {
  const told = TOLD.flatMap((name): [string, string][] => {
    const value = event.data[name];
    return typeof value === "string" && value !== "" ? [[name, value]] : [];
  });
  const changed = Object.entries((event.data["changed"] ?? {}) as Record<string, number>).filter(([, number]) => number > 0);
  return [...told, ...changed.map(([name, number]): [string, string] => [name, String(number)])];
}

function Fact({ name, value }: { name: string; value: string }) {
  if (name === "state") return <Tag tone={toneOf(value)}>{value.toLowerCase()}</Tag>;
  return <span><span className="muted">{spaced(name)}</span> <bdi>{plain(value)}</bdi></span>;
}
