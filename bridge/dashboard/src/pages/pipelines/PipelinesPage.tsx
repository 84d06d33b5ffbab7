import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";

import { pipelinesQuery, pipelineStripQuery } from "../../api/historyQueries";
import { usePolling } from "../../api/live";
import type { ListedPipeline, Pipeline } from "../../api/messages";
import { Empty, Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { PageTitle } from "../../parts/PageTitle";
import { Square } from "../../parts/Square";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { useTitle } from "../../parts/useTitle";
import { count, plain, stateWord } from "../../words/text";
import { span } from "../../words/time";
import classes from "./PipelinesPage.module.css";

/** Every pipeline with its newest runs. */
export function PipelinesPage() {
  useTitle("Pipelines");
  const search = useSearch({ from: "/pipelines" });
  const pipelines = useQuery({ ...pipelinesQuery({ ...search }), refetchInterval: usePolling() });
  const found = pipelines.data?.items ?? [];
  return (
    <>
      <PageTitle title="Pipelines" />
      {pipelines.isError && pipelines.data && <Notice tone="bad">The list could not be brought up to date: {pipelines.error.message}.</Notice>}
      {pipelines.isPending ? (
        <Lines number={8} height={56} />
      ) : pipelines.data === undefined ? (
        <Trouble error={pipelines.error} retry={() => void pipelines.refetch()} what="The list" />
      ) : found.length === 0 ? (
        <Empty title="No pipelines yet">
          <p>A pipeline is known from its first run, or once it is pushed:</p>
          <pre>kfbridge push pipeline.yaml</pre>
        </Empty>
      ) : (
        <Table pipelines={found} />
      )}
      {(search.cursor ?? pipelines.data?.next_cursor) && (
        <nav className={classes["paging"]} aria-label="Pages of the list">
          {search.cursor && <Link to="/pipelines" search={{ ...search, cursor: undefined }}><Icon name="left" size={14} /> First</Link>}
          {pipelines.data?.next_cursor && (
            <Link to="/pipelines" search={{ ...search, cursor: pipelines.data.next_cursor }} preload={false}>Next <Icon name="right" size={14} /></Link>
          )}
        </nav>
      )}
    </>
  );
}

function Table({ pipelines }: { pipelines: ListedPipeline[] }) {
  return (
    <div className="panel">
      <table className={classes["table"]}>
        <caption className="unseen">Pipelines by project and name</caption>
        <thead>
          <tr>
            <th scope="col">Pipeline</th>
            <th scope="col">Newest runs</th>
            <th scope="col">Last good run</th>
            <th scope="col">Usual time</th>
          </tr>
        </thead>
        <tbody>{pipelines.map((one) => <Row key={`${one.project} ${one.name}`} pipeline={one} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ pipeline }: { pipeline: ListedPipeline }) {
  const { data } = useQuery(pipelineStripQuery(pipeline.name, pipeline.project));
  const usual = data?.duration.median_seconds;
  return (
    <tr>
      <th scope="row">
        <Link to="/pipelines/$name" params={{ name: pipeline.name }} search={pipeline.project === "default" ? {} : { project: pipeline.project }} className={classes["name"] ?? ""}>
          <bdi>{plain(pipeline.name)}</bdi>
        </Link>
        <span className={classes["second"]}>
          {pipeline.project !== "default" && <Tag>{plain(pipeline.project)}</Tag>}
          {count(pipeline.versions, "version")}
          {data?.owner && <span>owner <bdi>{plain(data.owner)}</bdi></span>}
        </span>
      </th>
      <td data-label="Newest runs">{data && <Strip pipeline={data} />}</td>
      <td data-label="Last good run">
        {data && (data.last_good
          ? <Link to="/runs/$runId" params={{ runId: data.last_good.run_id }}><When at={data.last_good.created_at} /></Link>
          : <span className="muted">none</span>)}
      </td>
      <td data-label="Usual time" className="tabular">{usual === null || usual === undefined ? <span className="muted">—</span> : span(usual * 1000)}</td>
    </tr>
  );
}

/** The newest runs from left to right, as in the grid of the pipeline's page. */
function Strip({ pipeline }: { pipeline: Pipeline }) {
  if (pipeline.runs.length === 0) return <span className="muted">never run</span>;
  return (
    <ol className={classes["strip"]} aria-label="Newest runs, the newest last">
      {pipeline.runs.toReversed().map((run) => (
        <li key={run.run_id}><Square state={run.state} title={`${plain(run.display_name)}: ${stateWord(run.state)}`} /></li>
      ))}
    </ol>
  );
}
