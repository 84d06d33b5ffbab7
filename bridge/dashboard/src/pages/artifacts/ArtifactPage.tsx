import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useParams } from "@tanstack/react-router";

import { artifactQuery } from "../../api/artifactQueries";
import { inside } from "../../api/http";
import type { Artifact } from "../../api/messages";
import { runsQuery } from "../../api/queries";
import { Copy } from "../../parts/Copy";
import { Facts } from "../../parts/Facts";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { useTitle } from "../../parts/useTitle";
import { plain, shortType, shown } from "../../words/text";
import classes from "./ArtifactPage.module.css";
import { isGone, nameOf } from "./names";
import { Preview } from "./Preview";
import { Uses } from "./Uses";

/** One artifact: what it is, what made it, what used it, and what is in it. */
export function ArtifactPage() {
  const { artifactId } = useParams({ from: "/artifacts/$artifactId" });
  const artifact = useQuery(artifactQuery(artifactId));
  useTitle(artifact.data ? plain(nameOf(artifact.data)) : "Artifact");
  if (artifact.isPending) return <Lines number={4} height={90} />;
  if (artifact.data === undefined) return <Trouble error={artifact.error} retry={() => void artifact.refetch()} what="This artifact" />;
  return <Whole artifact={artifact.data} />;
}

function Whole({ artifact }: { artifact: Artifact }) {
  const meta = Object.entries(artifact.metadata).sort(([one], [other]) => one.localeCompare(other));
  return (
    <>
      <p className={classes["back"]}><Link to="/artifacts" search={artifact.type === "system.Model" ? {} : { type: artifact.type }}><Icon name="left" size={14} /> {shortType(artifact.type)} artifacts</Link></p>
      <header className={classes["head"]}>
        <h1><bdi>{plain(nameOf(artifact))}</bdi></h1>
        <Tag>{shortType(artifact.type)}</Tag>
        <Button component="a" href={inside(`/lineage?node=artifact:${artifact.artifact_id}`)} variant="default" size="xs" className={classes["lineage"] ?? ""} leftSection={<Icon name="lineage" size={14} />}>Lineage</Button>
      </header>
      {isGone(artifact) && (
        <Notice>
          <strong>What it names was not there</strong>{artifact.content_checked_at && <>, <When at={artifact.content_checked_at} /></>}.
          {artifact.content_error && <span className="muted small"> {plain(artifact.content_error)}</span>}
        </Notice>
      )}
      <section className={`panel ${classes["facts"] ?? ""}`} aria-label="Facts">
        <Place artifact={artifact} />
        <Facts of={[
          ["Created", artifact.created_at ? <When key="created" at={artifact.created_at} both /> : "not known"],
          ["Content", artifact.content === null ? "not looked at yet" : artifact.content === "available" ? <>there, <When at={artifact.content_checked_at ?? ""} /></> : "gone"],
          ["Digest", artifact.digest ? <span key="digest" className={classes["copied"]}><code title={artifact.digest}>{artifact.digest.slice(0, 16)}</code><Copy value={artifact.digest} what="digest" /></span> : "not known"],
          ["Reference", <span key="ref" className={classes["copied"]}><code>{artifact.artifact_id.slice(0, 8)}</code><Copy value={`bridge://artifacts/${artifact.artifact_id}`} what="reference" /></span>],
        ]} />
      </section>
      <UseSections artifact={artifact}>
        <Section title="Content"><Preview artifact={artifact} /></Section>
      </UseSections>
      {meta.length > 0 && (
        <Section title="Metadata">
          <dl className={`panel ${classes["meta"] ?? ""}`}>
            {meta.map(([name, value]) => <div key={name}><dt><bdi>{plain(name)}</bdi></dt><dd className="mono"><bdi>{shown(value)}</bdi></dd></div>)}
          </dl>
        </Section>
      )}
    </>
  );
}

function Place({ artifact }: { artifact: Artifact }) {
  if (!artifact.uri) return <p className="muted">It has no address: what there is of it is its metadata.</p>;
  return <p className={classes["uri"]}><code><bdi>{plain(artifact.uri)}</bdi></code><Copy value={artifact.uri} what="address" /></p>;
}

function Section({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <section className={classes["section"]} aria-label={title}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

const MOST_RUNS = 200;

/** What made it, what is in it (`children`), what used it. */
function UseSections({ artifact, children }: { artifact: Artifact; children: React.ReactNode }) {
  const ids = [...new Set(artifact.uses.map((use) => use.run_id))].slice(0, MOST_RUNS);
  const { data, error, isPending } = useQuery({ ...runsQuery({ ids, limit: MOST_RUNS }), enabled: ids.length > 0 });
  const runs = new Map((data?.items ?? []).map((run) => [run.run_id, run]));
  const outputs = artifact.uses.filter((use) => use.direction === "OUTPUT");
  const inputs = artifact.uses.filter((use) => use.direction === "INPUT");
  const waits = ids.length > 0 && isPending;
  // The content keeps its place all along: a page that is drawn there would be loaded a second time.
  return (
    <>
      {error && <Notice tone="bad">What is known of the runs could not be asked for: {error.message}.</Notice>}
      <Section title="Made by">
        {waits ? <Lines number={1} /> : outputs.length > 0 ? <Uses uses={[...outputs].reverse()} runs={runs} label="Tasks that put it out" again="from the cache" /> : <p className="muted">Nothing that the bridge knows of: it was there before.</p>}
      </Section>
      {children}
      {!waits && (
        <Section title="Used by">
          {inputs.length > 0 ? <Uses uses={inputs} runs={runs} label="Tasks that read it" /> : <p className="muted">No task has read it.</p>}
        </Section>
      )}
    </>
  );
}
