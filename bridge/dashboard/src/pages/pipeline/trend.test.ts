import { describe, expect, it } from "vitest";

import type { Trend, TrendPoint } from "../../api/messages";
import { told, trendOption, verdict } from "./trend";

const POINT: TrendPoint = {
  run_id: "r1", display_name: "night 1", created_at: "2026-01-02T03:00:00Z", state: "SUCCEEDED", good: true, digest: "d", dag_run_id: null,
  value: 0.56, median: 0.8, low: 0.78, high: 0.82, regression: true, reason: null,
};
const TREND: Trend = {
  pipeline: "p", project: "default", name: "evaluate.auc", last_good: null, regressions: 1, truncated: false,
  rule: { kind: "median", expression: "", text: "", direction: "higher", window: 10, factor: 3 },
  points: [POINT, { ...POINT, run_id: "r2", value: 0.8, regression: false }, { ...POINT, run_id: "r3", value: null, low: null, regression: null }],
};

interface Series { name: string; data: unknown[] }

function series(trend: Trend): Map<string, unknown[]> {
  return new Map((trendOption(trend, () => "#000")["series"] as Series[]).map((one) => [one.name, one.data]));
}

describe("a trend", () => {
  it("says of a regression what would have been usual, and else why it is not judged", () => {
    expect(verdict("evaluate.auc", POINT)).toBe("worse: usual are 0.78 to 0.82");
    expect(verdict("evaluate.auc", { ...POINT, reason: "evaluate.auc is 0.56" })).toBe("evaluate.auc is 0.56");
    expect(verdict("evaluate.auc", { ...POINT, regression: null, reason: "2 good runs before it" })).toBe("2 good runs before it");
    expect(verdict("evaluate.auc", { ...POINT, value: null, regression: null })).toBe("no value");
  });

  it("tells seconds as a length of time", () => {
    expect(told("duration", 90)).toBe("1 min 30 s");
    expect(told("evaluate.seconds", 90)).toBe("90");
  });

  it("marks regressions only and draws the usual range by its height", () => {
    const drawn = series(TREND);
    expect(drawn.get("regression")).toEqual([0.56, null, null]);
    expect(drawn.get("usual")?.map((one) => (one === null ? null : (one as number).toFixed(2)))).toEqual(["0.04", "0.04", null]);
  });

  it("is made of what the chart can draw", () => {
    const option = trendOption(TREND, () => "#000");
    expect((option["series"] as { type: string }[]).map((one) => one.type)).toEqual(["line", "line", "line", "line", "line"]);
    expect(Object.keys(option)).not.toContain("legend");
  });

  it("draws no range where the gate judges", () => {
    expect(series({ ...TREND, rule: { ...TREND.rule, kind: "gate" } }).has("usual")).toBe(false);
  });
});
