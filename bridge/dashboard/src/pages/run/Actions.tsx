import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";

import { inside } from "../../api/http";
import type { Run } from "../../api/messages";
import { explainQuery, lastGoodQuery } from "../../api/queries";
import { useRefusal } from "../../api/session";
import { ActButton } from "../../parts/ActButton";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { canCancel, GRADE_TONES } from "../../words/run";
import classes from "./Actions.module.css";

const ActionDialog = lazy(() => import("./ActionDialog"));
const ReproduceDialog = lazy(() => import("./ReproduceDialog"));

/** What a person can do about the run. */
export function Actions({ run }: { run: Run }) {
  const [asking, setAsking] = useState<"cancel" | "retry" | "reproduce" | null>(null);
  const { data: good } = useQuery({ ...lastGoodQuery(run), enabled: run.over });
  const { data: explained } = useQuery({ ...explainQuery(run.run_id), enabled: run.over });
  const refused = useRefusal("submit", [run.project]);
  const grade = explained?.reproducibility?.grade;
  return (
    <div className={classes["actions"]}>
      {good && <Button component="a" href={inside(`/compare?run=${good.run_id}&run=${run.run_id}`)} variant="default" leftSection={<Icon name="compare" />}>Compare with last good</Button>}
      {run.state === "FAILED" && run.over && <ActButton refused={refused} variant="default" leftSection={<Icon name="retry" />} onClick={() => setAsking("retry")}>Retry</ActButton>}
      {run.over && <ActButton refused={refused} variant="default" leftSection={<Icon name="run" />} rightSection={grade && <Tag tone={GRADE_TONES[grade]}>{grade}</Tag>} onClick={() => setAsking("reproduce")}>Reproduce</ActButton>}
      <Button component="a" href={inside(`/lineage?node=run:${run.run_id}`)} variant="default" leftSection={<Icon name="lineage" />}>Lineage</Button>
      {canCancel(run) && <ActButton refused={refused} variant="default" leftSection={<Icon name="stop" size={14} />} onClick={() => setAsking("cancel")}>Cancel</ActButton>}
      {asking && (
        <Suspense>
          {asking === "reproduce" ? <ReproduceDialog run={run} close={() => setAsking(null)} /> : <ActionDialog run={run} what={asking} close={() => setAsking(null)} />}
        </Suspense>
      )}
    </div>
  );
}

