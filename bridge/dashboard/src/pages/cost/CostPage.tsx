import { NativeSelect, SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";

import { costQuery } from "../../api/costQueries";
import type { Cost } from "../../api/messages";
import { Empty, Lines, Notice, Trouble } from "../../parts/feedback";
import { PageTitle } from "../../parts/PageTitle";
import { StaleBackends } from "../../parts/StaleBackends";
import { useTitle } from "../../parts/useTitle";
import { count } from "../../words/text";
import classes from "./CostPage.module.css";
import { CostTable } from "./CostTable";
import { MonthField } from "./MonthField";
import { COLUMNS, HEADS, type Column } from "./rows";
import { KINDS, readCostSearch, type CostSearch } from "./search";
import { Totals } from "./Totals";

// Which projects there are seldom changes.
const NAMES_MS = 300_000;

/** What runs used and what that cost, by pipeline, team, project or month. */
export function CostPage() {
  useTitle("Cost");
  const search = useSearch({ from: "/cost" });
  const navigate = useNavigate({ from: "/cost" });
  const months = { from: search.from, to: search.to };
  const found = useQuery(costQuery({ by: search.by ?? "pipeline", ...months, project: search.project }));
  const projects = useQuery({ ...costQuery({ by: "project", ...months }), refetchInterval: false, staleTime: NAMES_MS });
  const names = (projects.data?.items ?? []).map((one) => one.key).toSorted();
  const change = (next: Partial<Record<keyof CostSearch, string | undefined>>) => void navigate({ search: readCostSearch({ ...search, ...next }) });
  return (
    <>
      <PageTitle title="Cost" />
      <div className={classes["toolbar"]} role="search" aria-label="Filters">
        <SegmentedControl aria-label="By" value={search.by ?? "pipeline"} data={Object.entries(KINDS).map(([value, label]) => ({ value, label }))} size="sm"
          onChange={(by) => { change({ by, sort: undefined }); }} />
        <span className={classes["months"]}>
          <MonthField label="From month" value={search.from ?? found.data?.first_month ?? ""} apply={(from) => { change({ from }); }} />
          <span className={classes["months"]}>
            <span className="muted" aria-hidden="true">to</span>
            <MonthField label="To month" value={search.to ?? found.data?.last_month ?? ""} apply={(to) => { change({ to, from: search.from ?? found.data?.first_month }); }} />
          </span>
        </span>
        <NativeSelect aria-label="Project" value={search.project ?? ""} onChange={(event) => { change({ project: event.currentTarget.value }); }}
          data={[{ value: "", label: "All projects" }, ...new Set([...names, ...(search.project ? [search.project] : [])])]} />
        <NativeSelect aria-label="Sorted by" className={classes["order"] ?? ""} value={search.sort ?? ""} onChange={(event) => { change({ sort: event.currentTarget.value }); }}
          data={[{ value: "", label: "Usual order" }, ...COLUMNS.map((one) => ({ value: one === "name" ? one : `-${one}`, label: `By ${one === "name" ? "name" : HEADS[one]}` }))]} />
      </div>
      <StaleBackends />
      {found.isError && found.data && <Notice tone="bad">What is shown could not be brought up to date: {found.error.message}.</Notice>}
      {found.isPending ? (
        <Lines number={6} height={56} />
      ) : found.data === undefined ? (
        <Trouble error={found.error} retry={() => void found.refetch()} what="The cost" />
      ) : (
        <Found cost={found.data} search={search} project={search.project ?? (names.length === 1 ? names[0] : undefined)} fading={found.isPlaceholderData} sort={(sort) => { change({ sort }); }} />
      )}
    </>
  );
}

interface FoundProps {
  cost: Cost;
  search: CostSearch;
  project: string | undefined;
  fading: boolean;
  sort: (sort: Column | `-${Column}`) => void;
}

function Found({ cost, ...rest }: FoundProps) {
  const { search } = rest;
  const pending = cost.pending > 0 && <Notice tone="run">{count(cost.pending, "event")} {cost.pending === 1 ? "is" : "are"} not counted yet: what ended just now may be missing.</Notice>;
  if (cost.items.length === 0) {
    return (
      <>
        {pending}
        <Empty title="Nothing was used">
          <p>No run that is counted ended {cost.first_month === cost.last_month ? `in ${cost.first_month}` : `from ${cost.first_month} to ${cost.last_month}`}{search.project && " in this project"}. A run is counted when it is over.</p>
          {Object.keys(search).length > 0 && <Link to="/cost" search={{}}>Show this month</Link>}
        </Empty>
      </>
    );
  }
  return (
    <>
      {pending}
      <Totals usage={cost.total} currency={cost.currency} label="All together" />
      {cost.prices.length === 0 && <p className={`muted small ${classes["hint"] ?? ""}`}>No prices are set: the service's settings file takes them as <code>[[prices]]</code>.</p>}
      {cost.truncated && <Notice>There are more than are shown: those whose runs took longest are. What is above is of all.</Notice>}
      <CostTable cost={cost} {...rest} />
    </>
  );
}
