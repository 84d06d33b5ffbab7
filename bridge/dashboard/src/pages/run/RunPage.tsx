import { Tabs } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense } from "react";

import { usePolling } from "../../api/live";
import type { Run } from "../../api/messages";
import { runQuery, tasksQuery } from "../../api/queries";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { StaleBackends } from "../../parts/StaleBackends";
import { useTitle } from "../../parts/useTitle";
import { plain, stateWord } from "../../words/text";
import { CostSection } from "./CostSection";
import { Failure } from "./Failure";
import { GateVerdict } from "./GateVerdict";
import { Heading } from "./Heading";
import { Identity } from "./Identity";
import classes from "./RunPage.module.css";
import type { Tab } from "./search";
import { Timeline } from "./Timeline";

const PARTS: readonly { tab: Tab; name: string; Part: React.ComponentType<{ run: Run }> }[] = [
  { tab: "timeline", name: "Timeline", Part: Timeline },
  { tab: "graph", name: "Graph", Part: lazy(() => import("./Graph")) },
  { tab: "metrics", name: "Metrics", Part: lazy(() => import("./MetricsTab")) },
  { tab: "artifacts", name: "Artifacts", Part: lazy(() => import("./ArtifactsTab")) },
  { tab: "parameters", name: "Parameters", Part: lazy(() => import("./ParametersTab")) },
  { tab: "logs", name: "Logs", Part: lazy(() => import("./LogsTab")) },
  { tab: "events", name: "Events", Part: lazy(() => import("./EventsTab")) },
  { tab: "explain", name: "Explain", Part: lazy(() => import("./ExplainTab")) },
];

export function RunPage() {
  const { runId } = useParams({ from: "/runs/$runId" });
  const polling = usePolling();
  const run = useQuery({ ...runQuery(runId), refetchInterval: (query) => (query.state.data?.over ? false : polling) });
  useTitle(run.data ? `${stateWord(run.data.state)}: ${plain(run.data.display_name)}` : "Run");
  if (run.data === undefined) {
    return run.isPending ? <Lines number={5} height={72} /> : <Trouble error={run.error} retry={() => void run.refetch()} what="The run" page />;
  }
  return <Whole run={run.data} failed={run.error} />;
}

function Whole({ run, failed }: { run: Run; failed: Error | null }) {
  const { tab = "timeline" } = useSearch({ from: "/runs/$runId" });
  const navigate = useNavigate({ from: "/runs/$runId" });
  const tasks = useQuery(tasksQuery(run.run_id));
  const waits = run.causes.filter((cause) => cause.waiting);
  const show = (next: string | null) => {
    const to = PARTS.find((part) => part.tab === next)?.tab ?? "timeline";
    void navigate({ search: (before) => ({ ...before, tab: to }), replace: true, resetScroll: false });
  };
  return (
    <>
      <nav className={classes["crumbs"]} aria-label="Place">
        <Link to="/">Runs</Link> <span aria-hidden="true">/</span>{" "}
        <Link to="/pipelines/$name" params={{ name: run.pipeline.name }} search={{ project: run.project }}><bdi>{plain(run.pipeline.name)}</bdi></Link>
      </nav>
      <Heading run={run} />
      {failed && <Notice tone="bad">The page could not be brought up to date: {failed.message}.</Notice>}
      <StaleBackends only={run.backend} />
      {run.warnings.map((warning) => <Notice key={warning}>{plain(warning)}</Notice>)}
      <Identity run={run} />
      <Failure run={run} />
      {waits.length > 0 && (
        <Notice>
          <strong>{waits[0]?.task ?? "The run"} waits.</strong>
          {waits.map((cause) => <p key={cause.message}><bdi>{plain(cause.message)}</bdi></p>)}
        </Notice>
      )}
      {run.gate && <GateVerdict gate={run.gate} />}
      <Tabs value={tab} onChange={show} keepMounted={false} className={classes["tabs"] ?? ""}>
        <Tabs.List className={classes["list"] ?? ""} data-scrolls>
          {PARTS.map((part) => (
            <Tabs.Tab key={part.tab} value={part.tab}>
              {part.name}
              {part.tab === "timeline" && tasks.data && tasks.data.length > 1 && <span className="muted"> {tasks.data.length - 1}</span>}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        {PARTS.map(({ tab: value, name, Part }) => (
          <Tabs.Panel key={value} value={value} className={classes["part"] ?? ""}>
            <h2 className="unseen">{name}</h2>
            <Suspense fallback={<Lines />}><Part run={run} /></Suspense>
          </Tabs.Panel>
        ))}
      </Tabs>
      <CostSection run={run} />
    </>
  );
}
