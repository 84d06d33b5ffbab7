import { describe, expect, it } from "vitest";

import type { CompareRow, CompareSection } from "../../api/messages";
import { changeOf, dataRows, isOther, rowsOf, shortened } from "./rows";

function row(name: string, values: CompareRow["values"], more: Partial<CompareRow> = {}): CompareRow {
  return { name, values, known: values.map((one) => one !== null), differs: values[0] !== values[1], change: null, relative: null, ...more };
}

function section(rows: CompareRow[]): CompareSection {
  return { name: "data", title: "Data", differing: 1, total: rows.length, truncated: false, rows };
}

describe("a comparison", () => {
  it("shows what differs and what cannot be told, or all", () => {
    const rows = [row("a", [1, 2]), row("b", [1, null], { differs: null }), row("c", [1, 1])];
    expect(rowsOf(section(rows), false).map((one) => one.name)).toEqual(["a", "b"]);
    expect(rowsOf(section(rows), true)).toHaveLength(3);
  });

  it("tells a change with its sign and as a part", () => {
    expect(changeOf({ change: 2, relative: 2 / 3 })).toBe("+2 (+67 %)");
    expect(changeOf({ change: -0.2444, relative: -0.3055 })).toBe("−0.2444 (−31 %)");
    expect(changeOf({ change: 5, relative: null })).toBe("+5");
    expect(changeOf({ change: 0, relative: 0 })).toBeNull();
  });

  it("marks the values that are not the first run's", () => {
    const one = row("x", [[1], [1], [2]], { differs: true });
    expect([0, 1, 2].map((index) => isOther(one, index))).toEqual([false, false, true]);
  });

  it("shortens digests alone", () => {
    expect(shortened("a".repeat(64))).toBe("aaaaaaaaaaaa…");
    expect(shortened("alpine")).toBe("alpine");
  });

  it("gathers what is told of one input, whatever its name holds", () => {
    const found = dataRows(section([
      row("flights: file:///a: version", ["1", "2"]), row("flights: file:///a", ["file:///a", "file:///a"]), row("flights: file:///a: rows", [3, 3]),
      row("weather", ["s3://b/c", "s3://b/c"]), row("weather: version", [null, null], { differs: null }),
    ]));
    expect(found.map((one) => [one.name, one.version?.values, one.rows?.values, one.differs])).toEqual([
      ["flights: file:///a", ["1", "2"], [3, 3], true],
      ["weather", [null, null], undefined, null],
    ]);
  });
});
