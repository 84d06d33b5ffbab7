import { Link } from "@tanstack/react-router";

import type { BackendStatus, WatchStatus } from "../../api/messages";
import { Facts, type Fact } from "../../parts/Facts";
import { Icon, type IconName } from "../../parts/Icon";
import type { Tone } from "../../parts/State";
import { When } from "../../parts/time";
import { count, plain, sentence } from "../../words/text";
import { span } from "../../words/time";
import classes from "./BackendCard.module.css";
import { Queues } from "./Queues";
import { SwitchButtons } from "./SwitchButtons";

/** One backend: whether it answers, what it is sent, and what waits before it. */
export function BackendCard({ backend }: { backend: BackendStatus }) {
  return (
    <article className={`panel ${classes["card"] ?? ""}`} aria-label={`Backend ${backend.name}`}>
      <header className={classes["head"]}>
        <h3><bdi>{plain(backend.name)}</bdi></h3>
        <Signs backend={backend} />
        <div className={classes["buttons"]}><SwitchButtons backend={backend} /></div>
        <a className={`mono muted ${classes["url"] ?? ""}`} href={backend.url} rel="noreferrer"><bdi>{plain(backend.url)}</bdi> <Icon name="external" size={13} /></a>
      </header>
      {backend.switch && <Switched backend={backend} />}
      {backend.last_error && <p className={classes["error"]}><Icon name="warning" size={14} /> <span>{sentence(plain(backend.last_error))}</span></p>}
      <Facts label={`Facts of backend ${backend.name}`} of={[
        ["Runs under way", <Link key="active" to="/" search={{ backend: backend.name, phase: ["ACTIVE", "SUBMITTING"] }}>{capped(backend.active_runs, backend.max_active_runs)}</Link>],
        ["Waiting to be sent", <Link key="queued" to="/" search={{ backend: backend.name, phase: ["QUEUED"] }}>{backend.queued_runs.toLocaleString("en")}</Link>],
        ["Last sweep", backend.last_fast_sweep_at ? <When key="fast" at={backend.last_fast_sweep_at} /> : "none yet"],
        ["Last full look", backend.last_slow_sweep_at ? <When key="slow" at={backend.last_slow_sweep_at} /> : "none yet"],
        ["Asked every", backend.tick_seconds === null ? null : seconds(backend.tick_seconds)],
        ["A sweep takes", backend.last_sweep_seconds === null ? null : seconds(backend.last_sweep_seconds)],
        ["Requests waiting", backend.waiting_requests || null],
        ...watchFacts(backend.watch),
      ]} />
      {backend.queues.length > 0 && <Queues backend={backend} />}
    </article>
  );
}

function capped(active: number, most: number | null): string {
  return most === null ? active.toLocaleString("en") : `${active.toLocaleString("en")} of ${most.toLocaleString("en")}`;
}

function seconds(value: number): string {
  return value < 1 ? `${Math.max(1, Math.round(value * 1000))} ms` : span(value * 1000);
}

function Signs({ backend }: { backend: BackendStatus }) {
  return (
    <p className={classes["signs"]}>
      {backend.reachable
        ? <Sign tone="good" icon="SUCCEEDED">Answers</Sign>
        : <Sign tone="bad" icon="warning">No answer{backend.stale_since && <> since <When at={backend.stale_since} /></>}</Sign>}
      {backend.switch?.mode === "paused" && <Sign tone="wait" icon="PAUSED">Paused</Sign>}
      {backend.switch?.mode === "draining" && <Sign tone="wait" icon="PAUSED">Draining: {count(backend.switch.active_runs, "run")} left</Sign>}
      {backend.switch?.mode === "drained" && <Sign tone="still" icon="PAUSED">Drained</Sign>}
      {backend.circuit === "open" && <Sign tone="bad" icon="stop">Spared for {span(backend.held_seconds * 1000)}</Sign>}
      {backend.circuit === "half-open" && <Sign tone="wait" icon="unknown">Being tried again</Sign>}
      {backend.quarantined > 0 && <Sign tone="wait" icon="warning"><a href="#quarantine">{backend.quarantined} set aside</a></Sign>}
    </p>
  );
}

function Sign({ tone, icon, children }: { tone: Tone; icon: IconName; children: React.ReactNode }) {
  return <span className={classes["sign"]} data-tone={tone}><Icon name={icon} size={13} />{children}</span>;
}

function Switched({ backend }: { backend: BackendStatus }) {
  const { switch: set } = backend;
  if (!set) return null;
  return (
    <p className={classes["switched"]} role="status">
      <strong>Nothing new is sent here</strong> since <When at={set.since} />{set.reason && <>: <bdi>{plain(set.reason)}</bdi></>}.{" "}
      {set.mode === "drained" ? "Nothing is under way any more." : set.active_runs > 0 ? `${count(set.active_runs, "run")} under way ${set.active_runs === 1 ? "goes" : "go"} on.` : "Nothing is under way."}
    </p>
  );
}

function watchFacts(watch: WatchStatus | null): Fact[] {
  if (!watch) return [];
  return [
    ["Kubernetes watch", watch.state],
    ["Why it is off", watch.off_because],
    ["Watch lag", watch.lag_seconds === null ? null : seconds(watch.lag_seconds)],
    ["Last heard", watch.last_heard_at ? <When key="heard" at={watch.last_heard_at} /> : null],
  ];
}
