import type { Run } from "../../api/messages";
import { State, Tag } from "../../parts/State";
import { useNow, When } from "../../parts/time";
import { splitOf } from "../../words/run";
import { span } from "../../words/time";
import { plain } from "../../words/text";
import { Actions } from "./Actions";
import classes from "./Heading.module.css";

const ON_ITS_WAY: Record<string, string> = {
  QUEUED: "waits to be sent", SUBMITTING: "is being sent", REJECTED: "refused by the backend", LOST: "gone from the backend", ABANDONED: "given up",
};

/** The run's name, state, and how long it took. */
export function Heading({ run }: { run: Run }) {
  const now = useNow();
  const split = splitOf(run, run.over || run.finished_at !== null, now);
  const reading = !run.over && run.finished_at !== null;
  return (
    <div className={classes["heading"]}>
      <div className={classes["words"]}>
        <h1><bdi>{plain(run.display_name) || run.run_id}</bdi></h1>
        <p className={classes["lead"]}>
          <State name={run.state} large />
          {run.good && <Tag tone="good">good run</Tag>}
          {split && (
            <span className="tabular">
              {span(split.queued)} <span className="muted">queued</span> · {span(split.running)} <span className="muted">{split.ongoing ? "running so far" : "running"}</span>
            </span>
          )}
          <span className="muted">created <When at={run.created_at} /></span>
          {reading && <span className="muted">its end is being read</span>}
          {(run.waiting ?? ON_ITS_WAY[run.phase]) && <span className="muted">{run.waiting ? plain(run.waiting) : ON_ITS_WAY[run.phase]}</span>}
          {run.cancel_requested_at && !run.over && <Tag tone="wait">cancel asked for</Tag>}
          {run.attempt > 1 && <Tag>attempt {run.attempt}</Tag>}
          {run.revivals > 0 && <Tag>revived {run.revivals} ×</Tag>}
          {run.mirror === "EXPIRED" && <Tag tone="wait" title="The backend had deleted tasks and artifacts before they were read">metadata gone</Tag>}
        </p>
      </div>
      <Actions run={run} />
    </div>
  );
}
