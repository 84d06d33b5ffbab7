import { Button } from "@mantine/core";
import { useMutation, useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";

import { postJson } from "../../api/http";
import type { Reproduction, Run } from "../../api/messages";
import { Dialog } from "../../parts/Dialog";
import { Lines, Notice } from "../../parts/feedback";
import { Tag } from "../../parts/State";
import { distinct, GRADE_TONES } from "../../words/run";
import { plain } from "../../words/text";
import classes from "./Actions.module.css";

const MEANING = {
  exact: "Pipeline, images, packages, parameters and data are the same as then.",
  "same-spec": "The pipeline and its parameters are the same; this is not, or may not be:",
  impossible: "It cannot be run again:",
} as const;

/** How exactly the run can be had again, looked at anew and thoroughly; then it is submitted once more. */
export default function ReproduceDialog({ run, close }: { run: Run; close: () => void }) {
  const navigate = useNavigate();
  const path = `/runs/${run.run_id}:reproduce`;
  // The same for each press, so that two of them submit one run.
  const [key] = useState(() => `reproduce ${Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(16)).join("-")}`);
  const graded = useQuery({
    queryKey: ["reproduce", run.run_id, key],
    queryFn: () => postJson<Reproduction>(path, { dry_run: true }),
    staleTime: Infinity,
    retry: false,
  });
  const submit = useMutation({
    mutationFn: () => postJson<Reproduction>(path, {}, { "Idempotency-Key": key }),
    onSuccess: (made) => {
      close();
      if (made.run) void navigate({ to: "/runs/$runId", params: { runId: made.run.run_id } });
    },
  });
  const found = graded.data?.reproducibility;
  const problem = submit.error ?? graded.error;
  return (
    <Dialog title="Run it again" close={close} size="lg">
      <div className={classes["question"]}>
        <p>A new run of the same pipeline version with the same arguments and data, on backend {run.backend}. {run.origin.dag_id ? "Airflow is not told of it." : ""}</p>
        {problem && <Notice tone="bad">{problem.message}</Notice>}
        {found ? (
          <div>
            <p><Tag tone={GRADE_TONES[found.grade]}>{found.grade}</Tag> {MEANING[found.grade]}</p>
            <ul className={classes["reasons"]}>{distinct(found.reasons).map((reason) => <li key={`${reason.kind} ${reason.name}`}><bdi>{plain(reason.detail)}</bdi></li>)}</ul>
          </div>
        ) : graded.isPending && <Lines number={2} />}
        <div className={classes["buttons"]}>
          <Button variant="default" onClick={close} data-autofocus>Leave it</Button>
          <Button color="bridge" disabled={!found || found.grade === "impossible"} loading={submit.isPending} onClick={() => submit.mutate()}>Run it again</Button>
        </div>
      </div>
    </Dialog>
  );
}
