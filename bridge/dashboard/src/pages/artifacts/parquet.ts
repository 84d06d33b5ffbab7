/** The beginning of a Parquet file, of which only its end and the columns of its first rows are read. */
import { parquetMetadataAsync, parquetReadObjects, parquetSchema, type AsyncBuffer, type SchemaElement } from "hyparquet";

import { bytes } from "../../words/number";

const MOST_ROWS = 100;
const MOST_COLUMNS = 60;
/** So much is read for the first rows: a file's first group of rows may be the whole file. */
const MOST_BYTES = 16 * 1024 * 1024;
const END_BYTES = 64 * 1024;

export interface ParquetHead {
  columns: { name: string; type: string }[];
  /** How many rows the whole file has. */
  total: number;
  /** The first rows; `null` if they are not shown, `why` says why. */
  rows: string[][] | null;
  why: string;
}

export async function readParquet(file: AsyncBuffer): Promise<ParquetHead> {
  const metadata = await parquetMetadataAsync(file, { initialFetchSize: END_BYTES });
  const columns = parquetSchema(metadata).children.map(({ element }) => ({ name: element.name, type: typeOf(element) }));
  const names = columns.slice(0, MOST_COLUMNS).map((column) => column.name);
  const head = { columns, total: Number(metadata.num_rows), why: "" };
  const wanted = metadata.row_groups[0]?.columns.filter((one) => names.includes(one.meta_data?.path_in_schema[0] ?? "")) ?? [];
  const size = wanted.reduce((sum, one) => sum + Number(one.meta_data?.total_compressed_size ?? 0), 0);
  if (size > MOST_BYTES) return { ...head, rows: null, why: `its first rows lie among ${bytes(size)}` };
  try {
    const rows = await parquetReadObjects({ file, metadata, columns: names, rowStart: 0, rowEnd: Math.min(MOST_ROWS, head.total) });
    return { ...head, rows: rows.map((row) => names.map((name) => told(row[name]))) };
  } catch (error) {
    return { ...head, rows: null, why: error instanceof Error ? error.message : String(error) };
  }
}

function typeOf({ logical_type: logical, converted_type: converted, type, num_children: inner }: SchemaElement): string {
  if (inner) return (converted ?? "group").toLowerCase();
  return (logical?.type ?? converted ?? type ?? "").toLowerCase().replaceAll("_", " ");
}

function told(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (value instanceof Date) return value.toISOString().replace("T00:00:00.000Z", "");
  if (value instanceof Uint8Array) return bytes(value.length);
  if (typeof value === "object") return JSON.stringify(value, (_, one: unknown) => (typeof one === "bigint" ? Number(one) : one));
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? value.toString() : "";
}
