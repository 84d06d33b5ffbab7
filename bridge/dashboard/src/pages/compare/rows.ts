/** What the tables of a comparison show. */
import type { CompareRow, CompareSection } from "../../api/messages";
import { number } from "../../words/number";

const LETTERS = "ABCDE";
const DIGEST = /^[0-9a-f]{40,64}$/;
const SHOWN_DIGITS = 12;

/** What a run is called beside the others. */
export function letterOf(index: number): string {
  return LETTERS[index] ?? String(index + 1);
}

/** Whether a row says something that is not the same everywhere; what cannot be told may differ. */
export function mayDiffer(row: { differs: boolean | null }): boolean {
  return row.differs !== false;
}

/** The rows to show: those that may differ, or all. */
export function rowsOf(section: CompareSection, all: boolean): CompareRow[] {
  return all ? section.rows : section.rows.filter(mayDiffer);
}

/** Whether a value is another one than the first run's. */
export function isOther(row: CompareRow, index: number): boolean {
  return index > 0 && row.differs === true && (row.known[index] !== row.known[0] || JSON.stringify(row.values[index]) !== JSON.stringify(row.values[0]));
}

/** A digest in the digits that tell it apart; anything else as it is. */
export function shortened(text: string): string {
  return DIGEST.test(text) ? `${text.slice(0, SHOWN_DIGITS)}…` : text;
}

/** By how much a number changed, and that as a part of what it was. */
export function changeOf(row: { change: number | null; relative: number | null }): string | null {
  const { change, relative } = row;
  if (change === null || change === 0) return null;
  const sign = change > 0 ? "+" : "−";
  const part = relative === null ? "" : ` (${sign}${percent(Math.abs(relative))})`;
  return `${sign}${number(Number(Math.abs(change).toPrecision(4)))}${part}`;
}

function percent(part: number): string {
  const share = part * 100;
  return `${share >= 100 ? Math.round(share).toLocaleString("en") : Number(share.toPrecision(2))} %`;
}

/** An input of the runs with what is known of the data that each of them read. */
export interface DataRow {
  name: string;
  uri: CompareRow;
  version: CompareRow | undefined;
  rows: CompareRow | undefined;
  bytes: CompareRow | undefined;
  differs: boolean | null;
}

/** The data of the runs by input: the section tells each input in up to four rows. */
export function dataRows(section: CompareSection): DataRow[] {
  const byName = new Map(section.rows.map((row) => [row.name, row]));
  const part = (name: string, what: string) => byName.get(`${name}: ${what}`);
  const parts = new Set(section.rows.flatMap((row) => ["version", "rows", "bytes"].map((what) => `${row.name}: ${what}`)));
  return section.rows
    .filter((row) => !parts.has(row.name))
    .map((uri) => {
      const [version, rows, bytes] = [part(uri.name, "version"), part(uri.name, "rows"), part(uri.name, "bytes")];
      const told = [uri, version, rows, bytes].map((row) => row?.differs ?? false);
      const unknown = [uri, version].some((row) => row?.differs === null);
      return { name: uri.name, uri, version, rows, bytes, differs: told.includes(true) ? true : unknown ? null : false };
    });
}
