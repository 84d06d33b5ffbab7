import { useQuery } from "@tanstack/react-query";
import { Link, useParams, useSearch } from "@tanstack/react-router";

import { pipelineQuery } from "../../api/historyQueries";
import { usePolling } from "../../api/live";
import type { Pipeline } from "../../api/messages";
import { Empty, Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { PageTitle } from "../../parts/PageTitle";
import { StaleBackends } from "../../parts/StaleBackends";
import { Tag } from "../../parts/State";
import { useTitle } from "../../parts/useTitle";
import { plain } from "../../words/text";
import { Facts } from "./Facts";
import { Grid } from "./Grid";
import classes from "./PipelinePage.module.css";
import { Trend } from "./Trend";
import { Versions } from "./Versions";

/** A pipeline over time: its runs task by task, how long they took, what they measured. */
export function PipelinePage() {
  const { name } = useParams({ from: "/pipelines/$name" });
  const { project = "default", cursor } = useSearch({ from: "/pipelines/$name" });
  const pipeline = useQuery({ ...pipelineQuery(name, project, cursor), refetchInterval: usePolling() });
  useTitle(`Pipeline ${plain(name)}`);
  if (pipeline.data === undefined) {
    return pipeline.isPending ? <Lines number={5} height={72} /> : <Trouble error={pipeline.error} retry={() => void pipeline.refetch()} what="The pipeline" />;
  }
  return <Whole pipeline={pipeline.data} failed={pipeline.error} fading={pipeline.isPlaceholderData} />;
}

function Whole({ pipeline, failed, fading }: { pipeline: Pipeline; failed: Error | null; fading: boolean }) {
  const { cursor } = useSearch({ from: "/pipelines/$name" });
  const backend = pipeline.runs[0]?.backend;
  const filter = pipeline.project === "default" ? { pipeline: pipeline.name } : { pipeline: pipeline.name, project: [pipeline.project] };
  return (
    <>
      <PageTitle title={<bdi>{plain(pipeline.name)}</bdi>} crumbs={<Link to="/pipelines">Pipelines</Link>}>
        {pipeline.project !== "default" && <Tag>{plain(pipeline.project)}</Tag>}
        <Link to="/" search={filter} className={classes["all"] ?? ""}>All its runs <Icon name="right" size={14} /></Link>
      </PageTitle>
      {failed && <Notice tone="bad">The page could not be brought up to date: {failed.message}.</Notice>}
      {backend && <StaleBackends only={backend} />}
      <Facts pipeline={pipeline} />
      {pipeline.runs.length === 0 && !cursor ? (
        <Empty title="It has not run yet">
          <p>Its runs appear here as they are asked for.</p>
          <pre>kfbridge submit {plain(pipeline.name)} --wait</pre>
        </Empty>
      ) : (
        <>
          <Grid pipeline={pipeline} fading={fading} />
          <Trend pipeline={pipeline} />
        </>
      )}
      <Versions pipeline={pipeline} />
    </>
  );
}
