import { createColumnHelper, flexRender, getCoreRowModel, useReactTable } from "@tanstack/react-table";
import { Link, useNavigate } from "@tanstack/react-router";
import { useMemo, useRef } from "react";

import type { Run } from "../../api/messages";
import { useKeys } from "../../app/keys";
import { Icon } from "../../parts/Icon";
import { State } from "../../parts/State";
import { Took, useNow, When } from "../../parts/time";
import { splitOf } from "../../words/run";
import { plain } from "../../words/text";
import { KeyMetrics, Origin, RunName } from "./cells";
import classes from "./RunsTable.module.css";

const MOST_CHOSEN = 5;
const column = createColumnHelper<Run>();
const columns = [
  column.accessor("state", { header: "State", cell: (cell) => <State name={cell.getValue()} /> }),
  column.accessor("display_name", { header: "Run", cell: (cell) => <RunName run={cell.row.original} /> }),
  column.accessor("origin", { header: "Asked for by", cell: (cell) => <Origin run={cell.row.original} /> }),
  column.display({ id: "took", header: "Queued + running", cell: (cell) => <RunTook run={cell.row.original} runs={cell.table.options.data} /> }),
  column.accessor("gate", { header: "Metrics", cell: (cell) => <KeyMetrics run={cell.row.original} /> }),
  column.accessor("created_at", { header: "Created", cell: (cell) => <Created run={cell.row.original} /> }),
];

interface Props {
  runs: Run[];
  fading: boolean;
  chosen: readonly string[];
  choose: (runs: readonly string[]) => void;
}

/** The list. `j` and `k` move the focus from run to run, so that Enter opens and a screen reader tells the run. */
export function RunsTable({ runs, fading, chosen, choose }: Props) {
  const body = useRef<HTMLTableSectionElement>(null);
  const place = useRef(-1);
  const navigate = useNavigate();
  const table = useReactTable({ data: runs, columns, getCoreRowModel: getCoreRowModel(), getRowId: (run) => run.run_id });
  const toggle = (id: string) => choose(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-MOST_CHOSEN));
  const focused = () => [...(body.current?.rows ?? [])].findIndex((row) => row.contains(document.activeElement));
  const move = (step: number) => {
    const rows = body.current?.rows;
    if (!rows?.length) return;
    const now = focused();
    place.current = Math.min(Math.max((now >= 0 ? now : place.current) + step, 0), rows.length - 1);
    rows[place.current]?.querySelector<HTMLElement>("[data-run-link]")?.focus();
  };
  useKeys({ j: () => move(1), k: () => move(-1), x: () => focused() >= 0 && toggle(runs[focused()]?.run_id ?? "") });
  return (
    <div className={`panel ${classes["frame"] ?? ""}`} data-fading={fading || undefined}>
      <table className={classes["table"]}>
        <caption className="unseen">Runs, by default the newest first</caption>
        <thead>
          <tr>
            <th scope="col"><span className="unseen">Compare</span></th>
            {table.getFlatHeaders().map((header) => (
              <th key={header.id} scope="col" data-column={header.id}>{flexRender(header.column.columnDef.header, header.getContext())}</th>
            ))}
          </tr>
        </thead>
        <tbody ref={body}>
          {table.getRowModel().rows.map((row) => (
            <tr key={row.id} data-chosen={chosen.includes(row.id) || undefined}
              onClick={(event) => isPlain(event) && void navigate({ to: "/runs/$runId", params: { runId: row.id } })}>
              <td className={classes["choice"]}>
                <label>
                  <input type="checkbox" checked={chosen.includes(row.id)} onChange={() => toggle(row.id)} aria-label={`Compare ${plain(row.original.display_name)}`} />
                </label>
              </td>
              {row.getVisibleCells().map((cell) => (
                <td key={cell.id} data-column={cell.column.id}>{flexRender(cell.column.columnDef.cell, cell.getContext())}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A press on the row itself: not on what does something else in it, and not one that marks text. */
function isPlain(event: React.MouseEvent): boolean {
  const target = event.target as HTMLElement;
  return !target.closest("a, button, input, label") && !event.metaKey && !event.ctrlKey && (getSelection()?.isCollapsed ?? true);
}

function RunTook({ run, runs }: { run: Run; runs: Run[] }) {
  const now = useNow();
  const longest = useMemo(() => Math.max(...runs.map((one) => total(one, now))), [runs, now]);
  return <Took split={splitOf(run, run.over, now)} longest={longest} />;
}

function total(run: Run, now: number): number {
  const split = splitOf(run, run.over, now);
  return split ? split.queued + split.running : 0;
}

function Created({ run }: { run: Run }) {
  return (
    <>
      <When at={run.created_at} />
      {run.stale_since && (
        <Link to="/" search={{ backend: run.backend }} className={classes["stale"] ?? ""} title={`Backend ${run.backend} does not answer: what is shown may be old`}>
          <Icon name="warning" size={13} /> stale
        </Link>
      )}
    </>
  );
}
