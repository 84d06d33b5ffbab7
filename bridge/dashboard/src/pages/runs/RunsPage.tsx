import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";

import { inside } from "../../api/http";
import { usePolling } from "../../api/live";
import { PAGE_SIZE, runsQuery } from "../../api/queries";
import { Icon } from "../../parts/Icon";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { useTitle } from "../../parts/useTitle";
import { StaleBackends } from "../../parts/StaleBackends";
import { count } from "../../words/text";
import { Chips } from "./Chips";
import { NoRuns } from "./NoRuns";
import classes from "./RunsPage.module.css";
import { RunsTable } from "./RunsTable";
import { filtersOf, hasFilters, toQuery, type RunsSearch } from "./search";
import { Toolbar } from "./Toolbar";
import { Views } from "./Views";

export function RunsPage() {
  useTitle("Runs");
  const search = useSearch({ from: "/" });
  const navigate = useNavigate({ from: "/" });
  const polling = usePolling();
  const runs = useQuery({ ...runsQuery(toQuery(search)), refetchInterval: polling });
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const change = (next: RunsSearch) => void navigate({ search: next });
  const before = Number(search.at ?? 0);
  const found = runs.data?.items ?? [];
  const total = `${(before + found.length).toLocaleString("en")}${runs.data?.next_cursor ? "+" : ""}`;
  return (
    <>
      <div className={classes["title"]}>
        <h1>Runs</h1>
        {runs.data && <p className="muted tabular" data-testid="count">{total} {total === "1" ? "run" : "runs"}</p>}
        <div className={classes["right"]}>
          {chosen.length > 1 && <CompareLink chosen={chosen} />}
          <Views search={filtersOf(search)} open={change} />
        </div>
      </div>
      <Toolbar search={search} change={change} />
      <Chips search={search} change={change} />
      <StaleBackends />
      {runs.isError && runs.data && <Notice tone="bad">The list could not be brought up to date: {runs.error.message}.</Notice>}
      {runs.isPending ? (
        <Lines number={10} height={52} />
      ) : runs.data === undefined ? (
        <Trouble error={runs.error} retry={() => void runs.refetch()} what="The list" />
      ) : found.length === 0 ? (
        <NoRuns filtered={hasFilters(search)} />
      ) : (
        <RunsTable runs={found} fading={runs.isPlaceholderData} chosen={chosen} choose={setChosen} />
      )}
      <Paging search={search} next={runs.data?.next_cursor ?? null} before={before} />
    </>
  );
}

function CompareLink({ chosen }: { chosen: readonly string[] }) {
  const query = chosen.map((id) => `run=${id}`).join("&");
  return (
    <a className={classes["compare"]} href={inside(`/compare?${query}`)}>
      <Icon name="compare" /> Compare {count(chosen.length, "run")}
    </a>
  );
}

function Paging({ search, next, before }: { search: RunsSearch; next: string | null; before: number }) {
  if (!next && !search.cursor) return null;
  return (
    <nav className={classes["paging"]} aria-label="Pages of the list">
      {search.cursor && <Link to="/" search={filtersOf(search)}><Icon name="left" size={14} /> Newest</Link>}
      {next && (
        <Link to="/" search={{ ...filtersOf(search), cursor: next, at: String(before + PAGE_SIZE) }} preload={false}>
          Next {PAGE_SIZE} <Icon name="right" size={14} />
        </Link>
      )}
    </nav>
  );
}
