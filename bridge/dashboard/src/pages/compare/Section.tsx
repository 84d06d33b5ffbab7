import type { CompareRow, CompareSection, Run } from "../../api/messages";
import { State } from "../../parts/State";
import { bytes, number } from "../../words/number";
import { count, plain, shown } from "../../words/text";
import classes from "./Section.module.css";
import { changeOf, dataRows, isOther, letterOf, mayDiffer, rowsOf, shortened, type DataRow } from "./rows";

interface Props {
  section: CompareSection;
  runs: Run[];
  all: boolean;
}

/** One thing that runs are told apart by: a row for each name, a column for each run. */
export function Section({ section, runs, all }: Props) {
  const data = section.name === "data" ? dataRows(section).filter((row) => all || mayDiffer(row)) : null;
  const rows = data ? [] : rowsOf(section, all);
  const changes = rows.some((row) => changeOf(row) !== null);
  return (
    <section id={section.name} aria-labelledby={`${section.name}-title`} className={classes["section"]}>
      <h2 id={`${section.name}-title`}>{section.title} <span className="muted small">{section.differing > 0 ? `${section.differing} of ${count(section.total, "value")} differ` : section.rows.some(mayDiffer) ? "not known of all" : "the same"}</span></h2>
      <div className={`panel ${classes["frame"] ?? ""}`}>
        <table className={classes["table"]}>
          <thead>
            <tr>
              <th scope="col"><span className="unseen">Name</span></th>
              {runs.map((run, index) => <th key={run.run_id} scope="col" title={plain(run.display_name)}><span className={classes["letter"]}>{letterOf(index)}</span></th>)}
              {changes && <th scope="col" className={classes["change"]}>Change {letterOf(0)} to {letterOf(runs.length - 1)}</th>}
            </tr>
          </thead>
          <tbody>
            {data?.map((row) => <Data key={row.name} row={row} runs={runs} />)}
            {rows.map((row) => <Row key={row.name} section={section.name} row={row} runs={runs} changes={changes} />)}
          </tbody>
        </table>
      </div>
      {section.truncated && <p className="muted small">There are {number(section.total)} of them; the first {number(section.rows.length)} are shown.</p>}
    </section>
  );
}

function Row({ section, row, runs, changes }: { section: string; row: CompareRow; runs: Run[]; changes: boolean }) {
  return (
    <tr data-differs={mayDiffer(row) || undefined}>
      <th scope="row"><bdi>{plain(row.name)}</bdi></th>
      {runs.map((run, index) => (
        <td key={run.run_id} data-letter={letterOf(index)} data-other={isOther(row, index) || undefined}>
          {section === "outcome" && row.name === "state" ? <State name={String(row.values[index])} /> : <Value row={row} index={index} />}
        </td>
      ))}
      {changes && <td className={`tabular ${classes["change"] ?? ""}`} data-letter="Change">{changeOf(row) ?? <span className="muted">—</span>}</td>}
    </tr>
  );
}

function Value({ row, index }: { row: CompareRow; index: number }) {
  const value = row.values[index] ?? null;
  if (!row.known[index]) return <span className="muted">{row.differs === null ? "not known" : "not there"}</span>;
  if (value === null) return <span className="muted">none</span>;
  if (typeof value === "number") return <span className="tabular">{number(value)}</span>;
  if (typeof value === "boolean") return <span>{value ? "yes" : "no"}</span>;
  // A list of plain values is read as lines, not as JSON.
  const text = Array.isArray(value) && value.every((one) => typeof one !== "object") ? value.map((one) => plain(String(one))).join("\n") : shown(value);
  return <bdi className={`mono ${classes["text"] ?? ""}`} title={text}>{shortened(text)}</bdi>;
}

/** An input: which data each run read under its name. */
function Data({ row, runs }: { row: DataRow; runs: Run[] }) {
  const inName = row.name.indexOf(": ");
  const uris = new Set(row.uri.values.filter((uri) => uri !== null).map(String));
  const [only] = uris.size === 1 ? uris : [];
  return (
    <tr data-differs={mayDiffer(row) || undefined}>
      <th scope="row">
        <bdi>{plain(only && inName > 0 ? row.name.slice(0, inName) : row.name)}</bdi>
        {only && <bdi className={`mono ${classes["uri"] ?? ""}`} title={plain(only)}>{plain(only)}</bdi>}
      </th>
      {runs.map((run, index) => (
        <td key={run.run_id} data-letter={letterOf(index)} data-other={[row.uri, row.version, row.rows, row.bytes].some((one) => one && isOther(one, index)) || undefined}>
          {row.uri.known[index] ? <Read row={row} index={index} uri={!only} /> : <span className="muted">not read</span>}
        </td>
      ))}
    </tr>
  );
}

function Read({ row, index, uri }: { row: DataRow; index: number; uri: boolean }) {
  const version = row.version?.values[index];
  const [rows, size] = [row.rows?.values[index], row.bytes?.values[index]];
  const told = [typeof rows === "number" ? count(rows, "row") : null, typeof size === "number" ? bytes(size) : null].filter((one) => one !== null);
  return (
    <span className={classes["read"]}>
      {uri && <bdi className={`mono ${classes["uri"] ?? ""}`}>{shown(row.uri.values[index])}</bdi>}
      <span>{typeof version === "string" ? <bdi className="mono" title={`version ${plain(version)}`}>{shortened(plain(version))}</bdi> : <span className="muted">version not known</span>}</span>
      {told.length > 0 && <span className="muted small tabular">{told.join(" · ")}</span>}
    </span>
  );
}
