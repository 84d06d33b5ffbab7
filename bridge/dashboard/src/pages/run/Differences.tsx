import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { inside } from "../../api/http";
import type { Run } from "../../api/messages";
import { explainQuery, lastGoodQuery } from "../../api/queries";
import { When } from "../../parts/time";
import { plain } from "../../words/text";
import { differences } from "./differences";
import classes from "./Differences.module.css";

const SHOWN = 6;

/** What differs from the last good run of the pipeline: the first thing to look at when it worked before. */
export function Differences({ run }: { run: Run }) {
  const good = useQuery(lastGoodQuery(run));
  const mine = useQuery({ ...explainQuery(run.run_id), enabled: good.data !== undefined && good.data !== null });
  const its = useQuery({ ...explainQuery(good.data?.run_id ?? ""), enabled: good.data !== undefined && good.data !== null });
  if (good.data === undefined) return null;
  if (good.data === null) return <p className="muted small">No run of this pipeline went well before, so there is nothing to compare with.</p>;
  const found = mine.data && its.data ? differences(its.data, mine.data) : null;
  return (
    <section className={classes["box"]} aria-label="Differences from the last good run">
      <h3>
        Since <Link to="/runs/$runId" params={{ runId: good.data.run_id }}>the last good run</Link>, <span className="muted"><When at={good.data.created_at} /></span>
      </h3>
      {found === null ? null : found.length === 0 ? (
        <p className="small">Nothing that is known has changed: same pipeline, parameters, data, images. Look at the backend, or at what the component reads by itself.</p>
      ) : (
        <ul>
          {found.slice(0, SHOWN).map((one) => (
            <li key={`${one.kind} ${one.name}`}>
              <span className="muted">{one.kind}</span> <bdi className={classes["name"]}>{plain(one.name)}</bdi>
              <span className={classes["change"]}>
                {one.before === null ? <ins>new: <bdi>{one.after}</bdi></ins> : one.after === null ? <del><bdi>{one.before}</bdi></del> : <><del><bdi>{one.before}</bdi></del> <span aria-hidden="true">→</span> <ins><bdi>{one.after}</bdi></ins></>}
              </span>
            </li>
          ))}
        </ul>
      )}
      {found && found.length > SHOWN && <a href={inside(`/compare?run=${good.data.run_id}&run=${run.run_id}`)}>All {found.length} differences</a>}
    </section>
  );
}
