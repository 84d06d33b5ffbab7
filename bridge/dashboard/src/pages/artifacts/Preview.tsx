import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense } from "react";

import { contentQuery, PREVIEW_BYTES } from "../../api/artifactQueries";
import { address, ApiError } from "../../api/http";
import type { Artifact } from "../../api/messages";
import { Lines } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { bytes } from "../../words/number";
import { count, plain, sentence } from "../../words/text";
import { shownOf, type Shown } from "./content";
import { nameOf } from "./names";
import classes from "./Preview.module.css";
import { Sheet } from "./Sheet";

const Parquet = lazy(() => import("./Parquet"));

/** The beginning of what an artifact holds, as far as the bridge can read it. */
export function Preview({ artifact }: { artifact: Artifact }) {
  if (artifact.content === "unavailable" && /Metrics$/.test(artifact.type)) return <Note>It has no file; its numbers are in its metadata, and among the run&apos;s metrics.</Note>;
  if (artifact.content === "unavailable") return <Note>{artifact.content_error ? `It is not there: ${plain(artifact.content_error)}.` : "It is not there."}</Note>;
  if (!/^(file|s3|gs):/.test(artifact.uri ?? "")) return <Note>The bridge does not pass it on; read it at its address.</Note>;
  return <Beginning artifact={artifact} />;
}

function Note({ children }: { children: React.ReactNode }) {
  return <p className={`panel ${classes["note"] ?? ""}`}><Icon name="unknown" /> <span>{children}</span></p>;
}

function Beginning({ artifact }: { artifact: Artifact }) {
  const { data: head, error, isPending } = useQuery(contentQuery(artifact.artifact_id));
  if (isPending) return <Lines number={1} height={160} />;
  if (head === undefined) {
    const told = error instanceof ApiError ? error.problem.detail : error.message;
    return <Note>{sentence(plain(told))}.</Note>;
  }
  const shown = shownOf(head, artifact.type, artifact.uri ?? "");
  return (
    <>
      <Content shown={shown} artifact={artifact} />
      <p className={classes["foot"]}>
        <a href={address(`/artifacts/${artifact.artifact_id}/content`)} download={nameOf(artifact)}><Icon name="download" size={14} /> Download</a>
        <span className="muted small tabular">{told(shown, head.total)}</span>
      </p>
    </>
  );
}

function told(shown: Shown, total: number | null): string {
  const size = total === null ? "" : bytes(total);
  if (shown.kind === "table") return [size, shown.more ? `the first ${count(shown.rows.length - 1, "row")}` : count(shown.rows.length - 1, "row")].filter(Boolean).join(", ");
  if (shown.kind === "text" && shown.more) return `${size ? `${size}, ` : ""}the first ${bytes(PREVIEW_BYTES)}`;
  return size;
}

function Content({ shown, artifact }: { shown: Shown; artifact: Artifact }) {
  const place = `/artifacts/${artifact.artifact_id}/content`;
  const name = nameOf(artifact);
  switch (shown.kind) {
    case "empty":
      return <Note>It is empty.</Note>;
    case "binary":
      return <Note>{shown.what}: nothing to show here.</Note>;
    case "parquet":
      return <Suspense fallback={<Lines number={1} height={160} />}><Parquet id={artifact.artifact_id} size={shown.size} name={name} /></Suspense>;
    case "image":
      return <figure className={`panel ${classes["image"] ?? ""}`}><img src={address(place)} alt={`The image ${plain(name)}`} /></figure>;
    case "html":
      // What a component wrote is drawn there, and is of no origin: it runs nothing and reaches nothing.
      return <iframe className={`panel ${classes["frame"] ?? ""}`} sandbox="" src={address(place)} title={`The page ${plain(name)}`} referrerPolicy="no-referrer" />;
    case "table":
      return <Sheet rows={shown.rows} name={name} />;
    case "text":
      return <pre className={`panel ${classes["text"] ?? ""}`} tabIndex={0} aria-label={`The text ${plain(name)}`}>{plain(shown.text)}</pre>;
  }
}
