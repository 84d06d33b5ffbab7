import { Link } from "@tanstack/react-router";

import { BASE } from "../../api/http";
import { Empty } from "../../parts/feedback";

/** An empty list: nothing matches, or nothing has run yet. */
export function NoRuns({ filtered }: { filtered: boolean }) {
  if (filtered) {
    return (
      <Empty title="No run matches">
        <p>A text is looked for as words and beginnings of words; a number is always a whole word.</p>
        <Link to="/">Show all runs</Link>
      </Empty>
    );
  }
  return (
    <Empty title="No runs yet">
      <p>What Airflow, a script or you hand over is listed here, and what others start on the backends, too.</p>
      <p>Hand over a compiled pipeline:</p>
      <pre tabIndex={0}>KFBRIDGE_URL={window.location.origin + BASE} kfbridge submit pipeline.yaml</pre>
      <p>From Airflow it is one operator:</p>
      <pre tabIndex={0}>KubeflowPipelineOperator(task_id="train", pipeline="pipeline.yaml")</pre>
    </Empty>
  );
}
