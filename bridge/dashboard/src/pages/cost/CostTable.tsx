import { UnstyledButton } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import type { Cost, CostItem } from "../../api/messages";
import { Icon } from "../../parts/Icon";
import { hours, money } from "../../words/cost";
import { plain } from "../../words/text";
import classes from "./CostPage.module.css";
import { COLUMNS, HEADS, measureOf, nextSort, sorted, valueOf, type Column } from "./rows";
import { KINDS, type CostSearch } from "./search";

interface Props {
  cost: Cost;
  search: CostSearch;
  /** The project that all of it is of, if there is one. */
  project: string | undefined;
  fading: boolean;
  sort: (sort: Column | `-${Column}`) => void;
}

/** What each pipeline, team, project or month used. */
export function CostTable({ cost, search, project, fading, sort }: Props) {
  const items = sorted(cost.items, search.sort, cost.by);
  const measure = measureOf(items, search.sort);
  const most = Math.max(...items.map((one) => valueOf(one, measure)), 0);
  const now = search.sort ?? (cost.by === "month" ? "-name" : measure === "cost" ? "-cost" : "-time");
  return (
    <div className="panel">
      <table className={classes["table"]} data-fading={fading || undefined}>
        <caption className="unseen">What was used by {KINDS[cost.by].toLowerCase()}</caption>
        <thead>
          <tr>
            {COLUMNS.map((column) => (
              <th key={column} scope="col" className={column === "name" ? "" : (classes["number"] ?? "")}
                aria-sort={now === column ? "ascending" : now === `-${column}` ? "descending" : undefined}>
                <UnstyledButton className={classes["sort"] ?? ""} onClick={() => { sort(nextSort(column, now)); }}>
                  {column === "name" ? KINDS[cost.by] : HEADS[column]}
                  {now.replace(/^-/, "") === column && <span className={classes["turned"]} data-up={now === column || undefined}><Icon name="down" size={12} /></span>}
                </UnstyledButton>
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {items.map((one) => (
            <tr key={one.key}>
              <th scope="row">
                <Name item={one} cost={cost} search={search} project={project} />
                <span className={classes["bar"]} aria-hidden="true"><span style={{ width: `${most > 0 ? (100 * Math.max(0, valueOf(one, measure))) / most : 0}%` }} /></span>
              </th>
              <td data-label="Runs" className={classes["number"]}>{one.runs.toLocaleString("en")}</td>
              {(["cpu", "memory", "gpu", "unknown", "time"] as const).map((column) => (
                <td key={column} data-label={HEADS[column]} className={classes["number"]}><Hours value={valueOf(one, column)} /></td>
              ))}
              <td data-label="Cost" className={classes["number"]}>
                {one.cost === null ? <span className="muted">no price</span> : money(one.cost, cost.currency)}
                {one.cost !== null && one.unpriced.length > 0 && <span className={`muted small ${classes["under"] ?? ""}`}>without <bdi>{one.unpriced.map(plain).join(", ")}</bdi></span>}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Hours({ value }: { value: number }) {
  return value === 0 ? <span className="muted">0</span> : hours(value);
}

/** A pipeline leads to its page if its project is known, else to its runs; the others to what they consist of. */
function Name({ item, cost, search, project }: { item: CostItem; cost: Cost; search: CostSearch; project: string | undefined }) {
  const className = classes["name"] ?? "";
  const name = <bdi>{plain(item.key)}</bdi>;
  if (cost.by === "team" && item.key === "") return <span className="muted">no team</span>;
  if (cost.by === "team") return <Link to="/" search={{ team: item.key }} className={className}>{name}</Link>;
  const months = { ...(search.from && { from: search.from }), ...(search.to && { to: search.to }) };
  if (cost.by === "project") return <Link to="/cost" search={{ ...months, project: item.key }} className={className}>{name}</Link>;
  if (cost.by === "month") return <Link to="/cost" search={{ ...(search.project && { project: search.project }), from: item.key, to: item.key }} className={className}>{name}</Link>;
  if (project === undefined) return <Link to="/" search={{ pipeline: item.key }} className={className}>{name}</Link>;
  return <Link to="/pipelines/$name" params={{ name: item.key }} search={project === "default" ? {} : { project }} className={className}>{name}</Link>;
}
