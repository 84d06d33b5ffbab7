import { Button } from "@mantine/core";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";

import { postJson } from "../../api/http";
import type { Run, Session } from "../../api/messages";
import { keys, runsQuery } from "../../api/queries";
import { sessionQuery, useRefusal } from "../../api/session";
import { ActButton } from "../../parts/ActButton";
import { Command } from "../../parts/Copy";
import { Dialog } from "../../parts/Dialog";
import { Lines, Notice } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { refusal } from "../../words/roles";
import { canCancel, clearCommand } from "../../words/run";
import { count, plain } from "../../words/text";
import classes from "./GroupButton.module.css";

type Brief = Pick<Run, "run_id" | "project">;
type Verb = "cancel" | "retry";
interface Props {
  verb: Verb;
  runs: readonly Brief[];
  /** How many the group has in all. */
  of?: number;
}

// The API tells of so many runs by their ids at once.
const MOST = 200;

/** Cancels or retries the runs of a group, after a question. */
export function GroupButton({ verb, runs, of = runs.length }: Props) {
  const ids = runs.map((run) => run.run_id);
  const refused = useRefusal("submit", runs.map((run) => run.project));
  const [asking, setAsking] = useState<readonly string[] | null>(null);
  const word = verb === "cancel" ? "Cancel" : "Retry";
  return (
    <>
      <ActButton refused={refused} variant="default" size="xs" className={classes["button"] ?? ""} onClick={() => { setAsking(ids.slice(0, MOST)); }}
        leftSection={<Icon name={verb === "cancel" ? "stop" : "retry"} size={13} />}>
        {word} {ids.length === 1 ? "it" : of > ids.length ? `the newest ${ids.length}` : `all ${ids.length}`}
      </ActButton>
      {asking && (
        <Dialog title={`${word} ${count(asking.length, "run")}?`} size="lg" close={() => { setAsking(null); }}>
          <Question verb={verb} ids={asking} close={() => { setAsking(null); }} />
        </Dialog>
      )}
    </>
  );
}

/** The runs as they were when the question was asked: a group that changes meanwhile does not change the answer. */
function Question({ verb, ids, close }: { verb: Verb; ids: readonly string[]; close: () => void }) {
  const runs = useQuery({ ...runsQuery({ ids, limit: MOST }), staleTime: Infinity });
  const session = useQuery(sessionQuery());
  if (runs.isPending || session.isPending) return <Lines number={2} />;
  if (runs.data === undefined) return <Notice tone="bad">{runs.error.message}</Notice>;
  return <Answer verb={verb} runs={runs.data.items} who={session.data} close={close} />;
}

function Answer({ verb, runs, who, close }: { verb: Verb; runs: readonly Run[]; who: Session | undefined; close: () => void }) {
  const client = useQueryClient();
  const [chosen] = useState(() => split(verb, runs, who));
  const [done, setDone] = useState(0);
  const all = [...chosen.here, ...chosen.inAirflow];
  const [refused, setRefused] = useState<readonly string[]>([]);
  const work = useMutation({
    mutationFn: async () => {
      for (const run of all) {
        try {
          const cleared = verb === "retry" && clearCommand(run) !== null;
          await postJson(`/runs/${run.run_id}:${cleared ? "clear" : verb}`, verb === "cancel" ? { reason: "from the dashboard: on call" } : {});
        } catch (error) {
          const why = error instanceof Error ? error.message : String(error);
          setRefused((before) => [...before, `${run.display_name}: ${why}`]);
        }
        setDone((before) => before + 1);
      }
    },
    onSettled: () => client.invalidateQueries({ queryKey: keys.changing }),
  });
  const { here, inAirflow, commands } = chosen;
  return (
    <div className={classes["question"]}>
      {here.length > 0 && <p>{verb === "cancel" ? `${count(here.length, "run")} ${here.length === 1 ? "is" : "are"} ended; Airflow tasks that wait for them fail.` : `${count(here.length, "run")} ${here.length === 1 ? "goes" : "go"} on from the tasks that failed; what succeeded is kept.`}</p>}
      {inAirflow.length > 0 && <p>Airflow asked for {count(inAirflow.length, "run")} of these: {inAirflow.length === 1 ? "its task is" : "their tasks are"} cleared there, with what comes after, and Airflow asks again.</p>}
      {all.length + commands.length === 0 && <p>There is nothing left to do: they are over, or were asked to end.</p>}
      {commands.length > 0 && (
        <>
          <p>Airflow asked for {count(commands.length, "run")} of these. Clear {commands.length === 1 ? "its task" : "their tasks"}, and Airflow asks again; its DagRuns and this history then say the same.</p>
          <Command text={commands.join("\n")} label="commands that clear the tasks in Airflow" />
        </>
      )}
      {refused.length > 0 && <Notice tone="bad"><ul className={classes["refused"]}>{refused.map((one) => <li key={one}><bdi>{plain(one)}</bdi></li>)}</ul></Notice>}
      <div className={classes["buttons"]}>
        {(work.isPending || work.isSuccess) && (
          <span className={classes["progress"]} role="status">
            <progress value={done} max={all.length} aria-label="Progress" /> {done} of {all.length}{work.isSuccess && " asked for"}
          </span>
        )}
        <Button variant="default" onClick={close} data-autofocus>{work.isSuccess || all.length === 0 ? "Close" : "Leave it"}</Button>
        {all.length > 0 && !work.isSuccess && (
          <Button color={verb === "cancel" ? "red.9" : "bridge"} loading={work.isPending} onClick={() => { work.mutate(); }}>
            {verb === "cancel" ? `Cancel ${count(all.length, "run")}` : `Retry ${count(all.length, "run")}`}
          </Button>
        )}
      </div>
    </div>
  );
}

interface Split {
  here: Run[];
  /** One run of each task instance: its task is cleared for all of them. */
  inAirflow: Run[];
  commands: string[];
}

/** What is done at the backend, what in Airflow, which would not know of a retry that it did not ask for, and the commands where the bridge has no way into it. */
function split(verb: Verb, runs: readonly Run[], who: Session | undefined): Split {
  if (verb === "cancel") return { here: runs.filter(canCancel), inAirflow: [], commands: [] };
  const failed = runs.filter((run) => run.over && run.state === "FAILED");
  // They come newest first, and a task is cleared for the newest of its runs: the last to be set.
  const tasks = new Map([...failed].reverse().map((run) => [clearCommand(run), run]));
  const cleared = (run: Run) => run.clearable && refusal(who, "operate", [run.project]) === null;
  const asked = [...tasks].flatMap(([command, run]) => (command === null ? [] : [{ command, run }]));
  return {
    here: failed.filter((run) => clearCommand(run) === null),
    inAirflow: asked.filter(({ run }) => cleared(run)).map(({ run }) => run),
    commands: asked.filter(({ run }) => !cleared(run)).map(({ command }) => command),
  };
}
