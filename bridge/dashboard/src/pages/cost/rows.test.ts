import { expect, test } from "vitest";

import type { CostItem } from "../../api/messages";
import { hours, money } from "../../words/cost";
import { measureOf, nextSort, sorted } from "./rows";
import { readCostSearch } from "./search";

function item(key: string, cpu: number, cost: number | null): CostItem {
  return { key, runs: 1, cpu_hours: cpu, memory_gib_hours: 0, gpu_hours: 0, accelerator_hours: {}, unknown_hours: 0, run_hours: 1, cost, unpriced: [] };
}

const ITEMS = [item("b", 1, 3), item("a", 2, null), item("c", 1, 1)];
const keys = (items: readonly CostItem[]) => items.map((one) => one.key).join("");

test("rows are in the order that the address names", () => {
  expect(keys(sorted(ITEMS, undefined, "pipeline"))).toBe("bac");
  expect(keys(sorted(ITEMS, "-cpu", "pipeline"))).toBe("abc");
  expect(keys(sorted(ITEMS, "cost", "pipeline"))).toBe("acb");
  expect(keys(sorted(ITEMS, undefined, "month"))).toBe("cba");
});

test("a press sorts, another turns it around", () => {
  expect(nextSort("cpu", undefined)).toBe("-cpu");
  expect(nextSort("cpu", "-cpu")).toBe("cpu");
  expect(nextSort("name", "name")).toBe("-name");
});

test("bars are of what is sorted by, of money, or of time where nothing has a price", () => {
  expect(measureOf(ITEMS, "-cpu")).toBe("cpu");
  expect(measureOf(ITEMS, "name")).toBe("cost");
  expect(measureOf([item("a", 1, null)], undefined)).toBe("time");
});

test("what an address cannot mean is left out of it", () => {
  const given = { by: "pipeline", from: "2026-13", to: "2026-08", sort: "-size", project: "risk" };
  expect(readCostSearch(given)).toEqual({ to: "2026-08", project: "risk" });
  expect(readCostSearch({ by: "team", sort: "-gpu" })).toEqual({ by: "team", sort: "-gpu" });
});

test("small amounts are not nothing", () => {
  expect([hours(0), hours(0.001), hours(1.256), hours(1234.5)]).toEqual(["0", "< 0.01", "1.26", "1,235"]);
  expect([money(0, "EUR"), money(0.004, "EUR"), money(1234.5, "credits")]).toEqual(["0.00 EUR", "< 0.01 EUR", "1,234.50 credits"]);
});
