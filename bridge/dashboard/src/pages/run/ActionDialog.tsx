import { Button } from "@mantine/core";
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";

import { postJson } from "../../api/http";
import type { Cleared, Run } from "../../api/messages";
import { keys } from "../../api/queries";
import { useRefusal } from "../../api/session";
import { Command } from "../../parts/Copy";
import { Dialog } from "../../parts/Dialog";
import { Notice } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { clearCommand } from "../../words/run";
import { plain } from "../../words/text";
import classes from "./Actions.module.css";

/** Asks before a run is canceled, and says how it is tried again. */
export default function ActionDialog({ run, what, close }: { run: Run; what: "cancel" | "retry"; close: () => void }) {
  const title = what === "cancel" ? "Cancel this run?" : "Retry this run";
  return (
    <Dialog title={title} close={close} size="lg">
      {what === "retry" ? (
        <Retry run={run} close={close} />
      ) : (
        <Confirm run={run} verb="cancel" close={close} action="Cancel the run" body={{ reason: "from the dashboard" }}>
          <p><bdi>{plain(run.display_name)}</bdi> is ended on backend {run.backend}. {run.origin.dag_id ? "Its Airflow task fails." : ""}</p>
        </Confirm>
      )}
    </Dialog>
  );
}

/** A run that Airflow asked for is tried again by clearing its task: the two sides never disagree silently. */
function Retry({ run, close }: { run: Run; close: () => void }) {
  const refused = useRefusal("operate", [run.project]);
  const command = clearCommand(run);
  if (command && run.clearable && refused === null) return <Clear run={run} command={command} close={close} />;
  if (command) {
    return (
      <div className={classes["question"]}>
        <p>Airflow asked for this run. Clear its task, and Airflow asks again; its DagRun and this history then say the same.</p>
        <Command text={command} label="command that clears the task" />
        {run.clearable && <p className="muted small">Operators have it cleared from here. {refused}</p>}
        {run.links.scheduler && <p><a href={run.links.scheduler} rel="noreferrer">Or clear it in Airflow <Icon name="external" size={13} /></a></p>}
      </div>
    );
  }
  return (
    <Confirm run={run} verb="retry" close={close} action="Retry the failed tasks">
      <p>The run goes on from the tasks that failed, under its own id; what succeeded is kept.</p>
    </Confirm>
  );
}

/** Has Airflow clear the task; where that cannot be, the command is still shown. */
function Clear({ run, command, close }: { run: Run; command: string; close: () => void }) {
  const clear = useMutation({ mutationFn: () => postJson<Cleared>(`/runs/${run.run_id}:clear`) });
  return (
    <div className={classes["question"]}>
      <p>Airflow asked for this run. Its task is cleared, with what comes after it in the DagRun; Airflow then asks again, and both sides say the same.</p>
      {clear.error && (
        <>
          <Notice tone="bad">{clear.error.message}</Notice>
          <Command text={command} label="command that clears the task" />
        </>
      )}
      {clear.data && (
        <p role="status">
          Airflow cleared <bdi>{clear.data.tasks.map(plain).join(", ")}</bdi>. <Link to="/" search={{ dag_id: clear.data.dag_id, dag_run_id: clear.data.dag_run_id }}>The runs of this DagRun</Link>
        </p>
      )}
      <div className={classes["buttons"]}>
        <Button variant="default" onClick={close} data-autofocus>{clear.isSuccess ? "Close" : "Leave it"}</Button>
        {!clear.isSuccess && <Button loading={clear.isPending} onClick={() => clear.mutate()}>Clear the task in Airflow</Button>}
      </div>
    </div>
  );
}

interface ConfirmProps {
  run: Run;
  verb: "cancel" | "retry";
  action: string;
  body?: unknown;
  close: () => void;
  children: React.ReactNode;
}

function Confirm({ run, verb, action, body, close, children }: ConfirmProps) {
  const client = useQueryClient();
  const change = useMutation({
    mutationFn: () => postJson<Run>(`/runs/${run.run_id}:${verb}`, body),
    onSuccess: async () => {
      await client.invalidateQueries({ queryKey: keys.run(run.run_id) });
      close();
    },
  });
  return (
    <div className={classes["question"]}>
      {children}
      {change.error && <Notice tone="bad">{change.error.message}</Notice>}
      <div className={classes["buttons"]}>
        <Button variant="default" onClick={close} data-autofocus>Leave it</Button>
        <Button color={verb === "cancel" ? "red.9" : "bridge"} loading={change.isPending} onClick={() => change.mutate()}>{action}</Button>
      </div>
    </div>
  );
}
