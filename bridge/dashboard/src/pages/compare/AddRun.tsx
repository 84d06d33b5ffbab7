import { TextInput } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";

import { runsQuery } from "../../api/queries";
import { Lines } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { State } from "../../parts/State";
import { When } from "../../parts/time";
import { plain } from "../../words/text";
import classes from "./AddRun.module.css";
import { MOST_RUNS } from "./search";

const FOUND = 8;
const TYPING_MS = 250;

interface Props {
  /** The pipeline whose runs are offered first. */
  pipeline?: string | undefined;
  taken: readonly string[];
  add: (id: string) => void;
}

/** The newest runs to choose one of, by what their names hold. */
export function AddRun({ pipeline, taken, add }: Props) {
  const [typed, setTyped] = useState("");
  const [only, setOnly] = useState(pipeline !== undefined);
  const [text] = useDebouncedValue(typed.trim(), TYPING_MS);
  const label = useId();
  const runs = useQuery(runsQuery({ text, pipeline: only ? pipeline : undefined, limit: FOUND + MOST_RUNS }));
  const offered = (runs.data?.items ?? []).filter((run) => !taken.includes(run.run_id)).slice(0, FOUND);
  return (
    <div className={classes["add"]} role="group" aria-label="Add a run">
      <div className={classes["ask"]}>
        <TextInput aria-label="Name of a run" placeholder="Name of a run" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} leftSection={<Icon name="search" size={14} />} className={classes["field"] ?? ""} />
        {pipeline && (
          <label className={classes["only"]}>
            <input type="checkbox" checked={only} onChange={(event) => setOnly(event.currentTarget.checked)} aria-labelledby={label} />
            <span id={label}>only of <bdi>{plain(pipeline)}</bdi></span>
          </label>
        )}
      </div>
      {runs.isPending ? <Lines number={4} height={36} /> : offered.length === 0 ? <p className="muted">{runs.isError ? `The runs could not be asked for: ${runs.error.message}.` : "No other run has such a name."}</p> : (
        <ul className={classes["found"]}>
          {offered.map((run) => (
            <li key={run.run_id}>
              <button type="button" onClick={() => add(run.run_id)}>
                <Icon name="plus" size={13} />
                <span className={classes["name"]}><bdi>{plain(run.display_name) || run.run_id}</bdi> <span className="muted small"><bdi>{plain(run.pipeline.name)}</bdi></span></span>
                <State name={run.state} />
                <span className="muted small"><When at={run.created_at} /></span>
              </button>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
