import { Link, useNavigate } from "@tanstack/react-router";
import { useRef } from "react";

import type { ArtifactBrief } from "../../api/messages";
import { useKeys } from "../../app/keys";
import { State, Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { plain, shortType } from "../../words/text";
import classes from "./ArtifactsTable.module.css";
import { endOf, isGone, nameOf } from "./names";
import { changed, type ArtifactsSearch } from "./search";

interface Props {
  artifacts: readonly ArtifactBrief[];
  fading: boolean;
  search: ArtifactsSearch;
}

/** The list; `j` and `k` move from artifact to artifact. */
export function ArtifactsTable({ artifacts, fading, search }: Props) {
  const body = useRef<HTMLTableSectionElement>(null);
  const navigate = useNavigate();
  const move = (step: number) => {
    const links = [...(body.current?.querySelectorAll<HTMLElement>("[data-artifact-link]") ?? [])];
    const now = links.findIndex((link) => link.closest("tr")?.contains(document.activeElement));
    links[Math.min(Math.max(now + step, 0), links.length - 1)]?.focus();
  };
  useKeys({ j: () => { move(1); }, k: () => { move(-1); } });
  return (
    <div className={`panel ${classes["frame"] ?? ""}`} data-fading={fading || undefined}>
      <table className={classes["table"]}>
        <caption className="unseen">Artifacts, the newest first</caption>
        <thead>
          <tr>
            <th scope="col">Artifact</th>
            <th scope="col">Made by</th>
            <th scope="col" className={classes["narrow"]}>Run</th>
            <th scope="col" className={classes["narrow"]}>Created</th>
          </tr>
        </thead>
        <tbody ref={body}>
          {artifacts.map((one) => (
            <tr key={one.artifact_id} onClick={(event) => { if (isPlain(event)) void navigate({ to: "/artifacts/$artifactId", params: { artifactId: one.artifact_id } }); }}>
              <td data-column="name"><Name one={one} /></td>
              <td data-column="maker"><Maker one={one} search={search} /></td>
              <td data-column="state">{one.run && <State name={one.run.state} />}</td>
              <td data-column="created">{one.created_at ? <When at={one.created_at} /> : one.run && <When at={one.run.created_at} />}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A press on the row itself: not on what does something else in it, and not one that marks text. */
function isPlain(event: React.MouseEvent): boolean {
  const target = event.target as HTMLElement;
  return !target.closest("a, button") && !event.metaKey && !event.ctrlKey && (getSelection()?.isCollapsed ?? true);
}

function Name({ one }: { one: ArtifactBrief }) {
  return (
    <>
      <span className={classes["line"]}>
        <Link to="/artifacts/$artifactId" params={{ artifactId: one.artifact_id }} className={classes["name"] ?? ""} data-artifact-link>
          <bdi>{plain(nameOf(one))}</bdi>
        </Link>
        <Tag>{shortType(one.type)}</Tag>
        {isGone(one) && <Tag tone="wait">content gone</Tag>}
      </span>
      {one.uri && <bdi className={`truncate mono ${classes["uri"] ?? ""}`} title={plain(one.uri)}>{plain(endOf(one.uri))}</bdi>}
    </>
  );
}

function Maker({ one, search }: { one: ArtifactBrief; search: ArtifactsSearch }) {
  if (!one.run) return <span className="muted">not known</span>;
  return (
    <>
      <Link to="/runs/$runId" params={{ runId: one.run.run_id }} className={classes["run"] ?? ""}><bdi>{plain(one.run.display_name) || one.run.run_id}</bdi></Link>
      <span className={classes["second"]}>
        <Link to="/artifacts" search={changed(search, "pipeline", one.run.pipeline)} title="Artifacts of this pipeline"><bdi>{plain(one.run.pipeline)}</bdi></Link>
        {one.task_path && <bdi className="mono">{plain(one.task_path)}</bdi>}
        {one.run.good && <Tag tone="good">good run</Tag>}
      </span>
    </>
  );
}
