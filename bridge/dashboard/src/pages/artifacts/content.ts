/** What the beginning of a content is, so that it can be shown. */
import type { Head } from "../../api/http";

export type Shown =
  | { kind: "empty" }
  | { kind: "html" }
  | { kind: "image" }
  | { kind: "parquet"; size: number }
  | { kind: "table"; rows: string[][]; more: boolean }
  | { kind: "text"; text: string; more: boolean }
  | { kind: "binary"; what: string };

const MOST_ROWS = 100;
const MOST_COLUMNS = 60;

/** What there is to show of a content, by its artifact's type, its address, and its first bytes. */
export function shownOf(head: Head, type: string, uri: string): Shown {
  if (head.bytes.length === 0) return { kind: "empty" };
  if (head.type.startsWith("image/")) return { kind: "image" };
  if (startsWith(head.bytes, "\u0089PNG")) return { kind: "binary", what: "A PNG image whose address does not end in .png" };
  if (startsWith(head.bytes, "PAR1")) return head.total === null ? { kind: "binary", what: "A Parquet file" } : { kind: "parquet", size: head.total };
  const more = head.total !== null && head.total > head.bytes.length;
  const text = textOf(head.bytes);
  if (text === null) return { kind: "binary", what: "Not text" };
  if (type === "system.HTML" || /\.html?$/i.test(uri)) return { kind: "html" };
  const rows = tableOf(text, more, head.type.startsWith("text/csv") || /\.csv$/i.test(uri));
  if (rows) return { kind: "table", rows: rows.slice(0, MOST_ROWS + 1), more: more || rows.length > MOST_ROWS + 1 };
  return { kind: "text", text: (more ? null : asJson(text)) ?? text, more };
}

function startsWith(bytes: Uint8Array, magic: string): boolean {
  return String.fromCharCode(...bytes.slice(0, magic.length)) === magic;
}

/** The bytes as UTF-8, a character that is cut off at the end left out; `null` if they are no text. */
function textOf(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return null;
  }
}

function asJson(text: string): string | null {
  if (!/^\s*[[{]/.test(text)) return null;
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

/** The rows of comma separated values; `null` if the text is none. `told`: its name says that it is. */
function tableOf(text: string, cut: boolean, told: boolean): string[][] | null {
  const rows = readCsv(text);
  if (cut) rows.pop();
  const width = rows[0]?.length ?? 0;
  if (rows.length < 2 || width < 2 || width > MOST_COLUMNS) return null;
  return told || rows.slice(0, 20).every((row) => row.length === width) ? rows : null;
}

function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let value = "";
  let quoted = false;
  for (let at = 0; at < text.length && rows.length <= MOST_ROWS + 1; at += 1) {
    const letter = text[at] ?? "";
    if (quoted) {
      if (letter !== '"') value += letter;
      else if (text[at + 1] === '"') value += text[(at += 1)] ?? "";
      else quoted = false;
    } else if (letter === '"' && value === "") quoted = true;
    else if (letter === ",") {
      row.push(value);
      value = "";
    } else if (letter === "\n") {
      rows.push([...row, value.replace(/\r$/, "")]);
      row = [];
      value = "";
    } else value += letter;
  }
  if (value !== "" || row.length > 0) rows.push([...row, value]);
  return rows;
}
