import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";

import type { Run } from "../../api/messages";
import { lastGoodQuery } from "../../api/queries";
import { Icon } from "../../parts/Icon";
import { canCancel } from "../../words/run";
import classes from "./Actions.module.css";

const ActionDialog = lazy(() => import("./ActionDialog"));

/** What a person can do about the run. */
export function Actions({ run }: { run: Run }) {
  const [asking, setAsking] = useState<"cancel" | "retry" | null>(null);
  const { data: good } = useQuery({ ...lastGoodQuery(run), enabled: run.over });
  return (
    <div className={classes["actions"]}>
      {good && <Button component="a" href={`/compare?run=${good.run_id}&run=${run.run_id}`} variant="default" leftSection={<Icon name="compare" />}>Compare with last good</Button>}
      {run.state === "FAILED" && run.over && <Button variant="default" leftSection={<Icon name="retry" />} onClick={() => setAsking("retry")}>Retry</Button>}
      {canCancel(run) && <Button variant="default" leftSection={<Icon name="stop" size={14} />} onClick={() => setAsking("cancel")}>Cancel</Button>}
      {asking && <Suspense><ActionDialog run={run} what={asking} close={() => setAsking(null)} /></Suspense>}
    </div>
  );
}

