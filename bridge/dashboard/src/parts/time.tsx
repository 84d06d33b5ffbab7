/** Times that go on by themselves. One clock for the page, which stands still while nothing shows it. */
import { useSyncExternalStore } from "react";

import type { Split } from "../words/run";
import { ago, exact, span } from "../words/time";
import classes from "./time.module.css";

let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Set<() => void>();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    listeners.forEach((one) => one());
  }, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The moment, once a second. */
export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** How long ago, with the exact moment for who points at it. */
export function When({ at, both = false }: { at: string; both?: boolean }) {
  const moment = useNow();
  return (
    <time dateTime={at} title={`${exact(at)} UTC`} className={classes["when"]}>
      {ago(at, moment)}
      {both && <span className={classes["exact"]}>{exact(at)} UTC</span>}
    </time>
  );
}

/** Queued and running time as words and as a bar of the two, on a scale of `longest` milliseconds. */
export function Took({ split, longest }: { split: Split | null; longest?: number | undefined }) {
  if (!split) return <span className="muted">—</span>;
  const total = split.queued + split.running;
  const scale = Math.max(longest ?? total, 1);
  const told = `${span(split.queued)} queued, ${span(split.running)} running${split.ongoing ? " so far" : ""}`;
  return (
    <span className={classes["took"]} title={told}>
      <span className="tabular">{span(total)}</span>
      <span className={classes["bar"]} aria-hidden="true">
        <span className={classes["queued"]} style={{ width: `${(100 * split.queued) / scale}%` }} />
        <span className={classes["running"]} data-ongoing={split.ongoing || undefined} style={{ width: `${(100 * split.running) / scale}%` }} />
      </span>
      <span className="unseen">{told}</span>
      <span className={classes["parts"]} aria-hidden="true">
        {span(split.queued)} + {span(split.running)}
      </span>
    </span>
  );
}
