/** The rows of the table: their order, and what their bars measure. */
import type { CostItem } from "../../api/messages";

export const COLUMNS = ["name", "runs", "cpu", "memory", "gpu", "unknown", "time", "cost"] as const;
export type Column = (typeof COLUMNS)[number];

export const HEADS: Readonly<Record<Exclude<Column, "name">, string>> = {
  runs: "Runs", cpu: "CPU h", memory: "GiB h", gpu: "GPU h", unknown: "Unknown h", time: "Run h", cost: "Cost",
};

export function valueOf(item: CostItem, column: Exclude<Column, "name">): number {
  const values = {
    runs: item.runs, cpu: item.cpu_hours, memory: item.memory_gib_hours, gpu: item.gpu_hours,
    unknown: item.unknown_hours, time: item.run_hours, cost: item.cost ?? 0,
  };
  return values[column];
}

/** The order that an address names; without one the dearest first, months by their time. */
export function sorted(items: readonly CostItem[], sort: Column | `-${Column}` | undefined, by: string): CostItem[] {
  const chosen = sort ?? (by === "month" ? "-name" : undefined);
  if (!chosen) return [...items];
  const down = chosen.startsWith("-") ? -1 : 1;
  const column = chosen.replace(/^-/, "") as Column;
  const names = (one: CostItem, other: CostItem) => one.key.localeCompare(other.key, "en");
  if (column === "name") return items.toSorted((one, other) => down * names(one, other));
  return items.toSorted((one, other) => down * (valueOf(one, column) - valueOf(other, column)) || names(one, other));
}

/** Where a press on a column leads: numbers begin with the greatest, names with the first. */
export function nextSort(column: Column, now: Column | `-${Column}` | undefined): Column | `-${Column}` {
  const first = column === "name" ? column : (`-${column}` as const);
  const other = column === "name" ? (`-${column}` as const) : column;
  return now === first ? other : first;
}

/** What the bars are of: the column that is sorted by, else money, else the runs' own hours where nothing has a price. */
export function measureOf(items: readonly CostItem[], sort: Column | `-${Column}` | undefined): Exclude<Column, "name"> {
  const column = sort?.replace(/^-/, "") as Column | undefined;
  if (column && column !== "name") return column;
  return items.some((one) => one.cost) ? "cost" : "time";
}
