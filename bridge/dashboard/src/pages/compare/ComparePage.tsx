import { Switch } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";

import { compareQuery } from "../../api/historyQueries";
import { usePolling } from "../../api/live";
import type { Comparison } from "../../api/messages";
import { Lines, Notice, Trouble } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { PageTitle } from "../../parts/PageTitle";
import { useTitle } from "../../parts/useTitle";
import { count, plain } from "../../words/text";
import { AddRun } from "./AddRun";
import { Blobs } from "./Blobs";
import classes from "./ComparePage.module.css";
import { Heads } from "./Heads";
import { mayDiffer } from "./rows";
import { MOST_RUNS, type CompareSearch } from "./search";
import { Section } from "./Section";

/** Two to five runs beside each other, what differs first. */
export function ComparePage() {
  const search = useSearch({ from: "/compare" });
  const { run: ids = [] } = search;
  const navigate = useNavigate({ from: "/compare" });
  const change = (next: Partial<CompareSearch>) => void navigate({ search: { ...search, ...next }, replace: true, resetScroll: false });
  const found = useQuery({ ...compareQuery(ids), refetchInterval: usePolling() });
  useTitle(ids.length > 1 ? `Compare ${ids.length} runs` : "Compare");
  const choose = (run: string[]) => change({ run });
  if (ids.length < 2) return <Choose ids={ids} choose={choose} />;
  if (found.data === undefined) {
    return found.isPending ? <Lines number={6} height={72} /> : <Unknown error={found.error} retry={() => void found.refetch()} choose={() => choose([])} />;
  }
  return (
    <>
      <PageTitle title={`Compare ${count(found.data.runs.length, "run")}`}>
        <Switch className={classes["all"] ?? ""} size="sm" label="Show what is the same" checked={search.all !== undefined}
          onChange={(event) => change({ all: event.currentTarget.checked ? "yes" : undefined })} />
      </PageTitle>
      {found.error && <Notice tone="bad">The comparison could not be brought up to date: {found.error.message}.</Notice>}
      <Whole found={found.data} ids={ids} all={search.all !== undefined} choose={choose} fading={found.isPlaceholderData} />
    </>
  );
}

interface WholeProps {
  found: Comparison;
  ids: string[];
  all: boolean;
  choose: (ids: string[]) => void;
  fading: boolean;
}

function Whole({ found, ids, all, choose, fading }: WholeProps) {
  const [adding, setAdding] = useState(false);
  const { runs, sections } = found;
  const shown = sections.filter((section) => (all ? section.rows.length > 0 : section.rows.some(mayDiffer)));
  const same = sections.filter((section) => !section.rows.some(mayDiffer));
  const add = (id: string) => {
    setAdding(false);
    choose([...ids, id]);
  };
  return (
    <div className={classes["whole"]} data-fading={fading || undefined}>
      <Heads runs={runs} choose={choose}>
        {runs.length < MOST_RUNS && (
          <button type="button" className={classes["plus"]} aria-expanded={adding} onClick={() => setAdding(!adding)}><Icon name="plus" size={14} /> Add a run</button>
        )}
      </Heads>
      {adding && <div className="panel"><AddRun pipeline={runs[0]?.pipeline.name} taken={ids} add={add} /></div>}
      <nav className={classes["sections"]} aria-label="What differs">
        {shown.map((section) => (
          <a key={section.name} href={`#${section.name}`} data-differs={section.rows.some(mayDiffer) || undefined}>
            {section.title} <span className="tabular">{section.differing > 0 ? section.differing : section.rows.some(mayDiffer) ? "not known" : "same"}</span>
          </a>
        ))}
        {!all && same.length > 0 && <span className="muted">The same: {same.map((section) => section.title.toLowerCase()).join(", ")}</span>}
      </nav>
      {found.unknown.length > 0 && (
        <Notice>
          <strong>Not known:</strong>
          <ul className={classes["unknown"]}>{found.unknown.map((one) => <li key={one}><bdi>{plain(one)}</bdi></li>)}</ul>
        </Notice>
      )}
      {shown.length === 0 && <p className={`panel ${classes["nothing"] ?? ""}`}>Nothing differs between these runs, as far as the bridge knows.</p>}
      {shown.map((section) => <Section key={section.name} section={section} runs={runs} all={all} />)}
      <Blobs blobs={found.blobs} runs={runs} />
    </div>
  );
}

/** Fewer than two runs are no comparison yet. */
function Choose({ ids, choose }: { ids: string[]; choose: (ids: string[]) => void }) {
  return (
    <>
      <PageTitle title="Compare" />
      <section className={`panel ${classes["choose"] ?? ""}`}>
        <h2>{ids.length === 0 ? "Choose two to five runs" : "Choose a second run"}</h2>
        <p className="muted">What differs between them is shown first: parameters, metrics, code, images, packages, data. On the list of runs, boxes or the key x choose runs too.</p>
        <AddRun taken={ids} add={(id) => choose([...ids, id])} />
      </section>
    </>
  );
}

function Unknown({ error, retry, choose }: { error: unknown; retry: () => void; choose: () => void }) {
  return (
    <>
      <Trouble error={error} retry={retry} what="The comparison" />
      <p className={classes["again"]}><button type="button" className={classes["plus"]} onClick={choose}>Choose other runs</button></p>
    </>
  );
}
