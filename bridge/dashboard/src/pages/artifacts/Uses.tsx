import { Button } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import type { ArtifactUse, Run } from "../../api/messages";
import { State, Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { askedBy } from "../../words/run";
import { plain } from "../../words/text";
import classes from "./ArtifactPage.module.css";

const FEW = 10;

interface Props {
  uses: readonly ArtifactUse[];
  runs: ReadonlyMap<string, Run>;
  label: string;
  /** What is said of all but the first, which is the one that made it. */
  again?: string;
}

/** Tasks that put out or read an artifact, each with its run. */
export function Uses({ uses, runs, label, again }: Props) {
  const [all, setAll] = useState(false);
  return (
    <>
      <ul className={`panel ${classes["uses"] ?? ""}`} aria-label={label}>
        {uses.slice(0, all ? undefined : FEW).map((use, index) => {
          const run = runs.get(use.run_id);
          return (
            <li key={`${use.run_id} ${use.task_path} ${use.key} ${use.index}`}>
              <div>
                <p className={classes["line"]}>
                  <Link to="/runs/$runId" params={{ runId: use.run_id }} className={classes["run"] ?? ""}><bdi>{run ? plain(run.display_name) : `run ${use.run_id.slice(0, 8)}`}</bdi></Link>
                  {again && index > 0 && <Tag>{again}</Tag>}
                </p>
                <p className="muted small">
                  <bdi className="mono">{plain(use.task_path)}</bdi> as <bdi className="mono">{plain(use.key)}</bdi>
                  {run && <> of <Link to="/pipelines/$name" params={{ name: run.pipeline.name }} search={{ project: run.project }}><bdi>{plain(run.pipeline.name)}</bdi></Link>, asked for by <bdi>{plain(askedBy(run))}</bdi>, <When at={run.created_at} /></>}
                </p>
              </div>
              {run && <State name={run.state} />}
            </li>
          );
        })}
      </ul>
      {!all && uses.length > FEW && <Button variant="default" size="xs" mt="xs" onClick={() => { setAll(true); }}>Show all {uses.length}</Button>}
    </>
  );
}
