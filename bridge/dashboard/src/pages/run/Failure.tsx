import { Link } from "@tanstack/react-router";

import type { Cause, Run } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { clock } from "../../words/time";
import { plain, sentence, spaced } from "../../words/text";
import { Differences } from "./Differences";
import classes from "./Failure.module.css";
import { LogTail } from "./LogTail";

/** Why the run failed: the likeliest cause with its evidence, the end of the log, and what was different when it last went well. */
export function Failure({ run }: { run: Run }) {
  const causes = run.causes.filter((cause) => !cause.waiting);
  const first = causes[0];
  const { error } = run;
  if (!error || (run.state !== "FAILED" && run.phase !== "REJECTED" && run.phase !== "LOST")) return null;
  const task = first?.task ?? error.task;
  return (
    <section className={`panel ${classes["failure"] ?? ""}`} aria-labelledby="failure">
      <h2 id="failure"><Icon name="FAILED" /> <span>{task ? <>Failed in <bdi>{plain(task)}</bdi></> : "What went wrong"}</span>{first && <Tag tone="bad">{spaced(first.kind)}</Tag>}</h2>
      <p className={classes["message"]}><bdi>{sentence(plain(first?.message ?? error.message))}</bdi></p>
      <div className={classes["columns"]}>
        <div className={classes["log"]}>
          {error.log_tail.length > 0 && (
            <LogTail lines={error.log_tail} title={`Last ${error.log_tail.length} log lines`}>
              {error.task && <Link to="/runs/$runId" params={{ runId: run.run_id }} search={{ tab: "logs", task: error.task }} resetScroll={false}>Whole log</Link>}
            </LogTail>
          )}
        </div>
        <div className={classes["aside"]}>
          <Differences run={run} />
          {first && <Evidence cause={first} />}
          {causes.length > 1 && (
            <details>
              <summary>Less likely</summary>
              <ul className={classes["plain"]}>
                {causes.slice(1).map((cause) => (
                  <li key={`${cause.kind} ${cause.task ?? ""}`}><Tag>{spaced(cause.kind)}</Tag> <bdi>{plain(cause.message)}</bdi></li>
                ))}
              </ul>
            </details>
          )}
        </div>
      </div>
    </section>
  );
}

function Evidence({ cause }: { cause: Cause }) {
  const seen = cause.evidence.filter((one) => one.witness !== "log");
  if (seen.length === 0) return null;
  return (
    <details>
      <summary>Evidence <span className="muted">{seen.length}</span></summary>
      <ul className={classes["plain"]}>
        {seen.map((one, index) => (
          <li key={index}>
            <span className="muted small">{[one.witness, one.reason, one.exit_code === null ? null : `exit code ${one.exit_code}`, one.at && clock(one.at)].filter(Boolean).join(" · ")}</span>
            <br />
            <bdi>{plain(one.message)}</bdi>
          </li>
        ))}
      </ul>
    </details>
  );
}
