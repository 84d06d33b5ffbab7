import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";

import { usePolling } from "../../api/live";
import { address } from "../../api/http";
import type { Artifact, ArtifactUse, Run } from "../../api/messages";
import { artifactsQuery } from "../../api/queries";
import { Lines, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { Copy } from "../../parts/Copy";
import { Pairs } from "../../parts/Pairs";
import { plain, shortType } from "../../words/text";
import { Preview } from "../artifacts/Preview";
import classes from "./ArtifactsTab.module.css";

interface Row {
  artifact: Artifact;
  use: ArtifactUse;
}

/** What the run's tasks made, then what they only read. */
export default function ArtifactsTab({ run }: { run: Run }) {
  const artifacts = useQuery({ ...artifactsQuery(run.run_id), refetchInterval: usePolling(!run.over) });
  if (artifacts.data === undefined) return artifacts.isPending ? <Lines /> : <Trouble error={artifacts.error} retry={() => void artifacts.refetch()} what="The artifacts" />;
  const rows = artifacts.data.flatMap(rowOf).sort((a, b) => Number(a.use.direction === "INPUT") - Number(b.use.direction === "INPUT"));
  if (rows.length === 0) return <p className="muted">{run.over ? "No artifacts were read for this run." : "No artifacts yet."}</p>;
  return <ul className={`panel ${classes["list"] ?? ""}`}>{rows.map((row) => <Item key={row.artifact.artifact_id} row={row} />)}</ul>;
}

/** Of an artifact that several tasks put out (a nested pipeline puts out what its tasks made) the innermost is told. */
function rowOf(artifact: Artifact): Row[] {
  const made = artifact.uses.filter((use) => use.direction === "OUTPUT");
  const use = made.toSorted((a, b) => b.task_path.split(".").length - a.task_path.split(".").length)[0] ?? artifact.uses[0];
  return use ? [{ artifact, use }] : [];
}

function Item({ row: { artifact, use } }: { row: Row }) {
  const [open, setOpen] = useState(false);
  const scheme = artifact.uri?.split(":")[0] ?? "";
  // An object was seen to be there by whoever may read its store.
  const readable = artifact.content === "available" ? ["file", "s3", "gs"].includes(scheme) : artifact.content === null && scheme === "file";
  const path = address(`/artifacts/${artifact.artifact_id}/content`);
  return (
    <li>
      <div className={classes["head"]}>
        <button type="button" className={classes["name"]} aria-expanded={open} onClick={() => setOpen(!open)}>
          <Icon name={open ? "down" : "right"} size={13} /> <bdi>{plain(use.key)}</bdi>
        </button>
        <Tag>{shortType(artifact.type)}</Tag>
        {use.direction === "INPUT" && <Tag tone="run">read</Tag>}
        <bdi className="muted">{plain(use.task_path)}</bdi>
        <span className={classes["links"]}>
          <Link to="/artifacts/$artifactId" params={{ artifactId: artifact.artifact_id }}>Uses</Link>
          <Link to="/lineage" search={{ node: `artifact:${artifact.artifact_id}` }}>Lineage</Link>
          {readable && <a href={path}>Content</a>}
        </span>
      </div>
      {artifact.uri && <p className={classes["uri"]}><bdi className="mono">{plain(artifact.uri)}</bdi> <Copy value={artifact.uri} what="URI" /></p>}
      {open && (
        <div className={classes["preview"]}>
          <Preview artifact={artifact} />
          <Pairs title="Metadata" values={artifact.metadata} />
        </div>
      )}
    </li>
  );
}
