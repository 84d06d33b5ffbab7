import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense } from "react";

import { usePolling } from "../../api/live";
import type { Metric, MetricBlob, Run } from "../../api/messages";
import { metricsQuery } from "../../api/queries";
import { Lines, Trouble } from "../../parts/feedback";
import { number } from "../../words/number";
import { plain, shown, spaced } from "../../words/text";
import { confusionOf, rocOf } from "./blobs";
import { ConfusionMatrix } from "./ConfusionMatrix";
import classes from "./MetricsTab.module.css";

const RocCurve = lazy(() => import("./RocCurve"));

/** What the run measured: numbers by task, curves and matrices. */
export default function MetricsTab({ run }: { run: Run }) {
  const metrics = useQuery({ ...metricsQuery(run.run_id), refetchInterval: usePolling(!run.over) });
  if (metrics.data === undefined) return metrics.isPending ? <Lines number={2} height={90} /> : <Trouble error={metrics.error} retry={() => void metrics.refetch()} what="The metrics" />;
  const { scalars, blobs } = metrics.data;
  if (scalars.length === 0 && blobs.length === 0) return <p className="muted">{run.over ? "This run measured nothing." : "No metrics yet."}</p>;
  return (
    <div className={classes["metrics"]}>
      {grouped(scalars).map(([path, rows]) => (
        <section key={path} className={`panel ${classes["group"] ?? ""}`}>
          <h3><bdi>{path ? plain(path) : "The pipeline itself"}</bdi></h3>
          <dl className={classes["tiles"]} data-many={rows.length > 12 || undefined}>
            {rows.map((one) => (
              <div key={one.name}>
                <dt><bdi>{plain(one.name)}</bdi>{one.step > 0 && ` at step ${one.step}`}</dt>
                <dd className="tabular">{number(one.value)}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
      <div className={classes["blobs"]}>
        {blobs.map((blob) => <Blob key={`${blob.task_path} ${blob.name} ${blob.kind}`} blob={blob} />)}
      </div>
    </div>
  );
}

function Blob({ blob }: { blob: MetricBlob }) {
  const title = `${blob.task_path}.${blob.name}`;
  const roc = blob.kind === "roc" ? rocOf(blob.content) : null;
  const confusion = blob.kind === "confusion_matrix" ? confusionOf(blob.content) : null;
  return (
    <section className={`panel ${classes["blob"] ?? ""}`}>
      <h3><bdi>{plain(title)}</bdi> <span className="muted">{roc ? "ROC curve" : spaced(blob.kind)}</span></h3>
      {roc ? (
        <Suspense fallback={<Lines number={1} height={300} />}><RocCurve curves={[{ name: title, points: roc }]} /></Suspense>
      ) : confusion ? (
        <ConfusionMatrix matrix={confusion} />
      ) : (
        <pre tabIndex={0} role="group" aria-label={title}>{shown(blob.content)}</pre>
      )}
    </section>
  );
}

/** By task, each metric at its last step; tasks with few of them first. */
function grouped(metrics: readonly Metric[]): [string, Metric[]][] {
  const found = new Map<string, Map<string, Metric>>();
  for (const one of metrics) {
    const names = found.get(one.task_path) ?? new Map<string, Metric>();
    const before = names.get(one.name);
    if (!before || one.step >= before.step) names.set(one.name, one);
    found.set(one.task_path, names);
  }
  const groups = [...found].map(([path, names]): [string, Metric[]] => [path, [...names.values()].sort((a, b) => a.name.localeCompare(b.name))]);
  return groups.sort(([a, few], [b, many]) => few.length - many.length || a.localeCompare(b));
}
