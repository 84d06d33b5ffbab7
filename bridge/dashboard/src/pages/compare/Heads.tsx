import { ActionIcon } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";

import type { Run } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { State, Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { askedBy } from "../../words/run";
import { plain } from "../../words/text";
import classes from "./ComparePage.module.css";
import { letterOf } from "./rows";

interface Props {
  runs: Run[];
  choose: (ids: string[]) => void;
  children: ReactNode;
}

/** The runs that are compared, each with the letter it has on this page. */
export function Heads({ runs, choose, children }: Props) {
  const ids = runs.map((run) => run.run_id);
  return (
    <ol className={classes["heads"]} aria-label="Compared runs">
      {runs.map((run, index) => {
        const name = plain(run.display_name) || run.run_id;
        const others = ids.filter((id) => id !== run.run_id);
        return (
          <li key={run.run_id} className="panel">
            <span className={classes["letter"]}>{letterOf(index)}</span>
            <div className={classes["head"]}>
              <Link to="/runs/$runId" params={{ runId: run.run_id }} className={classes["name"] ?? ""}><bdi>{name}</bdi></Link>
              <span className={classes["line"]}><State name={run.state} /> {run.good && <Tag tone="good">good run</Tag>} <span className="muted"><When at={run.created_at} /></span></span>
              <span className="muted small"><bdi>{plain(run.pipeline.name)}</bdi> · <bdi>{plain(askedBy(run))}</bdi></span>
              {index === 0 ? <span className="muted small">the others are compared with it</span> : (
                <button type="button" className={classes["first"]} onClick={() => choose([run.run_id, ...others])} aria-label={`Compare with ${name}`}>compare with this one</button>
              )}
            </div>
            <ActionIcon variant="subtle" color="gray" size="sm" aria-label={`Without ${name}`} onClick={() => choose(others)}><Icon name="close" size={13} /></ActionIcon>
          </li>
        );
      })}
      <li className={classes["more"]}>{children}</li>
    </ol>
  );
}
