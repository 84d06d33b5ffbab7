import { useQuery } from "@tanstack/react-query";

import type { Explanation, Run } from "../../api/messages";
import { address, BASE } from "../../api/http";
import { explainQuery } from "../../api/queries";
import { Command, Copy } from "../../parts/Copy";
import { Lines, Trouble } from "../../parts/feedback";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { number } from "../../words/number";
import { distinct, GRADE_TONES, jobOf, reproduceCommand } from "../../words/run";
import { plain, sentence } from "../../words/text";
import classes from "./ExplainTab.module.css";

/** How the run came to be: data, code, parameters, environment, parent; and how to have it again. */
export default function ExplainTab({ run }: { run: Run }) {
  const found = useQuery(explainQuery(run.run_id));
  if (found.data === undefined) return found.isPending ? <Lines /> : <Trouble error={found.error} retry={() => void found.refetch()} what="The explanation" />;
  const one = found.data;
  return (
    <div className={classes["explain"]}>
      <section>
        <h3>Run it again {one.reproducibility && <Tag tone={GRADE_TONES[one.reproducibility.grade]}>{one.reproducibility.grade}</Tag>}</h3>
        {one.reproducibility?.grade === "impossible" ? null : <Command text={reproduceCommand(run, window.location.origin + BASE)} label="command that runs it again" />}
        {(one.reproducibility?.reasons.length ?? 0) > 0 && (
          <ul className={classes["reasons"]}>{distinct(one.reproducibility?.reasons ?? []).map((reason) => <li key={`${reason.kind} ${reason.name}`}><Tag>{reason.effect}</Tag> <bdi>{plain(reason.detail)}</bdi></li>)}</ul>
        )}
      </section>
      <section>
        <h3>Data it read <span className="muted">{one.inputs.length || ""}</span></h3>
        <Data one={one} />
      </section>
      <section>
        <h3>Code and environment</h3>
        <Environment one={one} run={run} />
      </section>
      {one.ancestors.length > 0 && (
        <section>
          <h3>Parents in OpenLineage</h3>
          <ol className={`panel ${classes["list"] ?? ""}`}>
            {one.ancestors.map((parent) => <li key={parent.run_id}><bdi>{plain(parent.job ?? parent.dag_id ?? "")}</bdi> <span className="muted">{parent.state?.toLowerCase()} {parent.started_at && <When at={parent.started_at} />}</span></li>)}
          </ol>
        </section>
      )}
      {one.unknown.length > 0 && (
        <section>
          <h3>Not known</h3>
          <ul className={`panel ${classes["list"] ?? ""}`}>{one.unknown.map((text) => <li key={text}><bdi>{sentence(plain(text))}</bdi></li>)}</ul>
        </section>
      )}
    </div>
  );
}

function Data({ one }: { one: Explanation }) {
  if (one.inputs.length === 0) return <p className="muted">No input data was named.</p>;
  return (
    <ul className={`panel ${classes["list"] ?? ""}`}>
      {one.inputs.map((input) => (
        <li key={`${input.name} ${input.uri}`}>
          <p className={classes["uri"]}><bdi className="mono">{plain(input.uri)}</bdi><Copy value={input.uri} what="URI" /></p>
          <p className={classes["facts"]}>
            <span><span className="muted">as</span> <bdi>{plain(input.name)}</bdi></span>
            <span title={input.version ? `${input.version_kind ?? ""} ${input.version}` : undefined}><span className="muted">version</span> {input.version ? <span className="mono">{input.version.slice(0, 12)}</span> : "unknown"}</span>
            {input.rows !== null && <span className="tabular"><span className="muted">rows</span> {number(input.rows)}</span>}
            <span><span className="muted">written by</span> {input.producer?.dag_id ? <bdi>{plain(jobOf(input.producer) ?? "")}</bdi> : "unknown"}</span>
          </p>
        </li>
      ))}
    </ul>
  );
}

function Environment({ one, run }: { one: Explanation; run: Run }) {
  const images = Object.entries(one.images).map(([name, image]): [string, string] => [name.replace(/^exec-/, ""), image]);
  const packages = new Map(Object.entries(one.packages).map(([name, found]) => [name.replace(/^comp-/, ""), found]));
  const names = [...new Set([...images.map(([name]) => name), ...packages.keys()])].sort();
  const imageOf = new Map(images);
  return (
    <ul className={`panel ${classes["list"] ?? ""}`}>
      <li>
        <p className={classes["facts"]}>
          <span><span className="muted">pipeline</span> <bdi>{plain(run.pipeline.name)}</bdi></span>
          <span><span className="muted">spec</span> <span className="mono">{run.pipeline.digest.slice(0, 16)}</span> <Copy value={run.pipeline.digest} what="digest" /></span>
          <a href={address(`/runs/${run.run_id}/spec`)}>Compiled pipeline</a>
          {one.bundle?.version && <span><span className="muted">DAG bundle</span> <bdi>{plain(one.bundle.name ?? "")}</bdi> <span className="mono">{one.bundle.version.slice(0, 12)}</span></span>}
          {one.caching !== null && <span><span className="muted">caching</span> {one.caching ? "on" : "off"}</span>}
          {one.backend_version && <span><span className="muted">backend</span> {one.backend_version}</span>}
        </p>
      </li>
      {names.map((name) => (
        <li key={name}>
          <strong><bdi>{plain(name)}</bdi></strong> <bdi className="mono muted">{plain(imageOf.get(name) ?? "image not known")}</bdi>
          {packages.has(name) && <p className="mono muted"><bdi>{plain((packages.get(name) ?? []).join(", "))}</bdi></p>}
        </li>
      ))}
    </ul>
  );
}
