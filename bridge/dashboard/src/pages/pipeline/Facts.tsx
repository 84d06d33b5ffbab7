import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import type { Pipeline } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { State } from "../../parts/State";
import { When } from "../../parts/time";
import { plain } from "../../words/text";
import { span } from "../../words/time";
import classes from "./PipelinePage.module.css";

/** What one asks first: does it work, since when not, how long does it take, whose is it. */
export function Facts({ pipeline }: { pipeline: Pipeline }) {
  const { last_good: good, duration, owner, runbook } = pipeline;
  const newest = pipeline.runs[0];
  return (
    <dl className={`panel ${classes["facts"] ?? ""}`}>
      <Fact name="Newest run">
        {newest ? (
          <>
            <span className={classes["main"]}><State name={newest.state} /></span>
            <span className={classes["under"]}><Link to="/runs/$runId" params={{ runId: newest.run_id }}><bdi>{plain(newest.display_name)}</bdi></Link> <When at={newest.created_at} /></span>
          </>
        ) : <span className="muted">none</span>}
      </Fact>
      <Fact name="Last good run">
        {good ? (
          <>
            <span className={classes["main"]}><Link to="/runs/$runId" params={{ runId: good.run_id }}><bdi>{plain(good.display_name)}</bdi></Link></span>
            <span className={classes["under"]}>
              <When at={good.created_at} />
              {newest && newest.run_id !== good.run_id && (
                <Link to="/compare" search={{ run: [good.run_id, newest.run_id] }}><Icon name="compare" size={13} /> Compare with the newest</Link>
              )}
            </span>
          </>
        ) : <span className="muted">none yet</span>}
      </Fact>
      <Fact name="Usual time">
        {duration.median_seconds === null ? (
          <span className="muted">not known before three good runs</span>
        ) : (
          <>
            <span className={`tabular ${classes["main"] ?? ""}`}>{span(duration.median_seconds * 1000)}</span>
            {duration.usual_max_seconds !== null && <span className={classes["under"]}>unusual beyond {span(duration.usual_max_seconds * 1000)}</span>}
          </>
        )}
      </Fact>
      <Fact name="Owner">
        <span className={classes["main"]}>{owner ? <bdi>{plain(owner)}</bdi> : <span className="muted">not told</span>}</span>
        <span className={classes["under"]}>
          {runbook ? <Runbook text={runbook} /> : "label owner or runbook of a run"}
        </span>
      </Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** A label is anybody's text: it is a link only where it is an address of the web. */
function Runbook({ text }: { text: string }) {
  if (!/^https?:\/\//.test(text)) return <span>runbook <bdi>{plain(text)}</bdi></span>;
  return <a href={text} rel="noreferrer">Runbook <Icon name="external" size={12} /></a>;
}
