import { lazy, Suspense, useMemo } from "react";

import type { CompareBlob, Run } from "../../api/messages";
import { Lines } from "../../parts/feedback";
import { plain } from "../../words/text";
import { confusionOf, rocOf } from "../run/blobs";
import { ConfusionMatrix } from "../run/ConfusionMatrix";
import classes from "./ComparePage.module.css";
import { letterOf } from "./rows";

const RocCurve = lazy(() => import("../run/RocCurve"));

/** The ROC curves over each other, the confusion matrices beside each other. */
export function Blobs({ blobs, runs }: { blobs: CompareBlob[]; runs: Run[] }) {
  return blobs.map((blob) => {
    const title = `${blob.task_path}.${blob.name}`;
    if (blob.kind === "roc") return <Curves key={`${title} roc`} title={title} blob={blob} runs={runs} />;
    if (blob.kind === "confusion_matrix") return <Matrices key={`${title} matrix`} title={title} blob={blob} runs={runs} />;
    return null;
  });
}

interface Props {
  title: string;
  blob: CompareBlob;
  runs: Run[];
}

function Curves({ title, blob, runs }: Props) {
  const curves = useMemo(() => blob.contents.flatMap((content, index) => {
    const points = rocOf(content);
    return points ? [{ name: `${letterOf(index)} ${plain(runs[index]?.display_name ?? "")}`, points }] : [];
  }), [blob, runs]);
  if (curves.length === 0) return null;
  return (
    <section className={classes["blob"]}>
      <h2>ROC curve <span className="muted small"><bdi>{plain(title)}</bdi></span></h2>
      <div className={`panel ${classes["chart"] ?? ""}`}><Suspense fallback={<Lines number={1} height={300} />}><RocCurve curves={curves} /></Suspense></div>
    </section>
  );
}

function Matrices({ title, blob, runs }: Props) {
  return (
    <section className={classes["blob"]}>
      <h2>Confusion matrix <span className="muted small"><bdi>{plain(title)}</bdi></span></h2>
      <div className={classes["matrices"]}>
        {blob.contents.map((content, index) => {
          const matrix = confusionOf(content);
          return (
            <figure key={runs[index]?.run_id ?? index} className="panel">
              <figcaption><span className={classes["letter"]}>{letterOf(index)}</span> <bdi>{plain(runs[index]?.display_name ?? "")}</bdi></figcaption>
              {matrix ? <ConfusionMatrix matrix={matrix} /> : <p className="muted">It has none.</p>}
            </figure>
          );
        })}
      </div>
    </section>
  );
}
