import { CloseButton, SegmentedControl } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { useMemo } from "react";

import { artifactListQuery } from "../../api/artifactQueries";
import { usePolling } from "../../api/live";
import type { ArtifactBrief, Page } from "../../api/messages";
import { Empty, Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { SearchBox } from "../../parts/SearchBox";
import { useTitle } from "../../parts/useTitle";
import { plain, shortType } from "../../words/text";
import classes from "./ArtifactsPage.module.css";
import { ArtifactsTable } from "./ArtifactsTable";
import { ANY, changed, MODEL, readArtifactsSearch, toQuery, TYPES, type ArtifactsSearch } from "./search";

/** What runs made, models first. */
export function ArtifactsPage() {
  useTitle("Artifacts");
  const search = useSearch({ from: "/artifacts" });
  const navigate = useNavigate({ from: "/artifacts" });
  const query = useMemo(() => toQuery(search), [search]);
  const found = useQuery({ ...artifactListQuery(query), refetchInterval: usePolling() });
  const change = (name: "type" | "pipeline" | "text", value: string) => void navigate({ search: changed(search, name, value) });
  const type = search.type ?? MODEL;
  const types: { value: string; label: string }[] = TYPES.map(({ value, label }) => ({ value, label }));
  if (!types.some((one) => one.value === type)) types.push({ value: type, label: shortType(type) });
  return (
    <>
      <h1 className={classes["title"]}>Artifacts</h1>
      <div className={classes["toolbar"]} role="search" aria-label="Filters">
        <SearchBox text={search.text ?? ""} apply={(text) => { change("text", text); }} placeholder="Search names, addresses, digests" />
        <SegmentedControl className={classes["types"] ?? ""} aria-label="Type" value={type} data={types} size="sm" onChange={(value) => { change("type", value); }} />
        {search.pipeline && (
          <span className={classes["chip"]}>
            <span className="muted">Pipeline</span> <bdi>{plain(search.pipeline)}</bdi>
            <CloseButton size="xs" aria-label={`Without pipeline ${search.pipeline}`} onClick={() => { change("pipeline", ""); }} />
          </span>
        )}
      </div>
      {found.isError && found.data && <Notice tone="bad">The list could not be brought up to date: {found.error.message}.</Notice>}
      {found.isPending ? (
        <Lines number={8} height={56} />
      ) : found.data === undefined ? (
        <Trouble error={found.error} retry={() => void found.refetch()} what="The list" />
      ) : found.data.items.length === 0 ? (
        <Nothing search={search} more={found.data.next_cursor} />
      ) : (
        <ArtifactsTable artifacts={found.data.items} fading={found.isPlaceholderData} search={search} />
      )}
      {found.data && found.data.items.length > 0 && <Paging search={search} page={found.data} />}
    </>
  );
}

function Nothing({ search, more }: { search: ArtifactsSearch; more: string | null }) {
  if (more) {
    return (
      <Empty title="Nothing among the newest">
        <p>A text is looked for in five thousand artifacts at a time, the newest first. There are older ones.</p>
        <Link to="/artifacts" search={{ ...search, cursor: more }}>Look among older ones</Link>
      </Empty>
    );
  }
  if (search.text || search.pipeline || search.cursor) {
    return (
      <Empty title="No artifact matches">
        <p>A text is looked for in names, addresses and digests, as it stands there.</p>
        <Link to="/artifacts" search={{}}>Show all models</Link>
      </Empty>
    );
  }
  if (search.type === ANY) return <Empty title="No artifacts yet"><p>What the tasks of runs put out is listed here: models, data, metrics, reports.</p></Empty>;
  const type = TYPES.find((one) => one.value === (search.type ?? MODEL))?.label.toLowerCase() ?? "artifacts of this type";
  return (
    <Empty title={type === "html" ? "No HTML yet" : `No ${type} yet`}>
      <p>An output that a component declares as <code>{shortType(search.type ?? MODEL)}</code> is listed here once its task has ended.</p>
      <Link to="/artifacts" search={{ type: ANY }}>Show artifacts of every type</Link>
    </Empty>
  );
}

function Paging({ search, page }: { search: ArtifactsSearch; page: Page<ArtifactBrief> }) {
  if (!page.next_cursor && !search.cursor) return null;
  const first = readArtifactsSearch({ ...search, cursor: undefined });
  return (
    <nav className={classes["paging"]} aria-label="Pages of the list">
      {search.cursor && <Link to="/artifacts" search={first}><Icon name="left" size={14} /> Newest</Link>}
      {page.next_cursor && <Link to="/artifacts" search={{ ...search, cursor: page.next_cursor }} preload={false}>Older <Icon name="right" size={14} /></Link>}
    </nav>
  );
}
