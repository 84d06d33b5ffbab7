import { SegmentedControl } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useQueries, useQuery, type UseQueryResult } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useMemo } from "react";

import { lineageQuery } from "../../api/historyQueries";
import type { LineageGraph } from "../../api/messages";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { PageTitle } from "../../parts/PageTitle";
import { Tag } from "../../parts/State";
import { useTitle } from "../../parts/useTitle";
import { count, plain, sentence } from "../../words/text";
import { AddRun } from "../compare/AddRun";
import { Details } from "./Details";
import { drawnOf, kindOf, kindWord, nameOf, poolOf, type Kind, type Pool } from "./graph";
import classes from "./LineagePage.module.css";
import { List } from "./List";
import type { LineageSearch, View } from "./search";

const Graph = lazy(() => import("./Graph"));
const FIRST = { depth: 12, nodes: 1000 };
const FURTHER = { depth: 1, nodes: 200 };
const PHONE = "(max-width: 48rem)";

/** What something came from and what came of it. */
export function LineagePage() {
  const { node } = useSearch({ from: "/lineage" });
  return node ? <Around key={node} start={node} /> : <Begin />;
}

function Around({ start }: { start: string }) {
  const { open = [] } = useSearch({ from: "/lineage" });
  const first = useQuery(lineageQuery(start, FIRST.depth, FIRST.nodes));
  const further = useQueries({ queries: open.map((id) => lineageQuery(id, FURTHER.depth, FURTHER.nodes)), combine: together });
  const pool = useMemo(() => (first.data ? poolOf(start, [first.data, ...further.graphs]) : null), [start, first.data, further.graphs]);
  const begin = pool?.nodes.get(start);
  useTitle(begin ? `Lineage of ${plain(nameOf(begin))}` : "Lineage");
  if (!pool || !begin) return first.isPending ? <Lines number={4} height={96} /> : <Trouble error={first.error} retry={() => void first.refetch()} what="The lineage" />;
  return <Whole pool={pool} open={open} asking={further.asking} trouble={further.trouble} />;
}

function together(results: UseQueryResult<LineageGraph>[]) {
  return {
    graphs: results.flatMap((one) => (one.data ? [one.data] : [])),
    asking: results.some((one) => one.isPending),
    trouble: results.find((one) => one.error)?.error?.message ?? null,
  };
}

interface WholeProps {
  pool: Pool;
  open: string[];
  asking: boolean;
  trouble: string | null;
}

function Whole({ pool, open, asking, trouble }: WholeProps) {
  const search = useSearch({ from: "/lineage" });
  const navigate = useNavigate({ from: "/lineage" });
  const phone = useMediaQuery(PHONE, false, { getInitialValueInEffect: false });
  const view: View = search.view ?? (phone ? "list" : "graph");
  const change = (next: Partial<LineageSearch>) => void navigate({ search: { ...search, ...next }, replace: true, resetScroll: false });
  const drawn = useMemo(() => drawnOf(pool, open), [pool, open]);
  const begin = pool.nodes.get(pool.start);
  const chosen = pool.nodes.get(search.chosen ?? "") ?? begin;
  const expand = (id: string) => change({ open: [...new Set([...open, id])], chosen: id });
  const choose = (id: string) => change({ chosen: id });
  if (!begin || !chosen) return null;
  const details = <Details node={chosen} pool={pool} opened={open.includes(chosen.id)} asking={asking} expand={expand} choose={choose} />;
  // Where there is no room beside the list, what is chosen is told below it.
  const within = phone && view === "list";
  return (
    <>
      <PageTitle title={<>Lineage of <bdi>{plain(nameOf(begin))}</bdi></>}>
        <Tag>{kindWord(begin)}</Tag>
        <SegmentedControl className={classes["views"] ?? ""} size="xs" value={view} onChange={(value) => change({ view: value === "list" ? "list" : "graph" })}
          data={[{ value: "graph", label: "Graph" }, { value: "list", label: "List" }]} aria-label="Shown as" />
      </PageTitle>
      <Summary pool={pool} />
      {trouble && <Notice tone="bad">It could not be gone on from there: {trouble}.</Notice>}
      {(pool.open.size > 0 || (view === "graph" && drawn.nodes.length < pool.nodes.size)) && (
        <Notice tone="run">
          <strong>This is not everything.</strong> {view === "graph" && drawn.nodes.length < pool.nodes.size && `${drawn.nodes.length} of ${pool.nodes.size.toLocaleString("en")} known nodes are drawn, the nearest; the list has all. `}
          {pool.open.size > 0 && `More is stored of ${count(pool.open.size, "node")}. `}Go on with the + of a node.
        </Notice>
      )}
      <div className={classes["split"]} data-view={view}>
        {view === "graph" ? (
          <Suspense fallback={<Lines number={1} height={480} />}><Graph drawn={drawn} pool={pool} chosen={chosen.id} choose={choose} expand={expand} /></Suspense>
        ) : (
          <List pool={pool} chosen={chosen.id} choose={choose} below={within && search.chosen ? details : null} />
        )}
        {!within && details}
      </div>
    </>
  );
}

const SAID: Record<Kind, [string, string]> = {
  job_run: ["Airflow task", "Airflow tasks"], dataset: ["version of data", "versions of data"], run: ["run", "runs"],
  task: ["KFP task", "KFP tasks"], model: ["model", "models"], artifact: ["other artifact", "other artifacts"],
};

/** The answer in a line: from what, and to what. */
function Summary({ pool }: { pool: Pool }) {
  const told = (side: "up" | "down", kinds: readonly Kind[]) => {
    const found = [...pool.nodes.values()].filter((node) => pool.sides.get(node.id)?.side === side);
    return kinds.flatMap((kind) => {
      const number = found.filter((node) => kindOf(node) === kind).length;
      return number > 0 ? [count(number, ...SAID[kind])] : [];
    });
  };
  const up = told("up", ["job_run", "dataset", "run", "model", "artifact"]);
  const down = told("down", ["job_run", "dataset", "run", "model", "artifact"]);
  return (
    <p className={classes["summary"]} data-testid="summary">
      <Icon name="left" size={13} /> {up.length > 0 ? `Came from ${up.join(", ")}` : "Nothing is known of what it came from"}.{" "}
      <Icon name="right" size={13} /> {down.length > 0 ? `${sentence(down.join(", "))} came of it` : "Nothing is known to have come of it"}.
    </p>
  );
}

/** Without a node: where one can begin. */
function Begin() {
  useTitle("Lineage");
  const navigate = useNavigate({ from: "/lineage" });
  return (
    <>
      <PageTitle title="Lineage" />
      <section className={`panel ${classes["begin"] ?? ""}`}>
        <h2>Begin with a run</h2>
        <p className="muted">From there it goes to the data that it read and the Airflow tasks that wrote them, and on to its models and whatever was made of these.</p>
        <AddRun taken={[]} add={(id) => void navigate({ search: { node: `run:${id}` } })} />
      </section>
    </>
  );
}
