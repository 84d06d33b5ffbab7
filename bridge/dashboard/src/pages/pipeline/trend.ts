/** What a trend's chart draws. */
import type { EChartsCoreOption } from "echarts/core";

import type { Trend, TrendPoint } from "../../api/messages";
import type { Colour } from "../../parts/Chart";
import { shortNumber } from "../../words/number";
import { plain, stateWord } from "../../words/text";
import { exact, span } from "../../words/time";

/** The two numbers that every run has, beside those that its components put out. */
export const TIMES = { duration: "duration", queued: "time queued" } as const;

/** A number of the trend as people write it: seconds as a length of time. */
export function told(name: string, value: number): string {
  return name in TIMES ? span(value * 1000) : shortNumber(value);
}

/** What the rule says of a point, in words. */
export function verdict(name: string, point: TrendPoint): string {
  if (point.value === null) return "no value";
  if (point.regression === null) return point.reason ?? "not judged";
  if (!point.regression) return "as usual or better";
  if (point.reason) return plain(point.reason);
  return point.low === null || point.high === null ? "worse" : `worse: usual are ${told(name, point.low)} to ${told(name, point.high)}`;
}

export function trendOption(trend: Trend, colour: Colour): EChartsCoreOption {
  const { points, name } = trend;
  const dim = colour("--mantine-color-dimmed");
  const byRun = new Map(points.map((point) => [point.run_id, point]));
  const line = { type: "line", symbol: "none", silent: true, emphasis: { disabled: true } };
  const banded = trend.rule.kind === "median";
  return {
    grid: { left: 8, right: 16, top: 16, bottom: 8, containLabel: true },
    tooltip: {
      trigger: "axis",
      formatter: (shown: { axisValue: string }[]) => {
        const point = byRun.get(shown[0]?.axisValue ?? "");
        if (!point) return "";
        const value = point.value === null ? "no value" : told(name, point.value);
        return [plain(point.display_name), `${value} · ${stateWord(point.state)}${point.good ? ", good run" : ""}`, verdict(name, point), `${exact(point.created_at)} UTC`].join("\n");
      },
    },
    xAxis: {
      type: "category",
      data: points.map((point) => point.run_id),
      axisLine: { lineStyle: { color: colour("--line") } },
      axisTick: { show: false },
      axisLabel: { color: dim, hideOverlap: true, formatter: (run: string) => dayOf(byRun.get(run)?.created_at) },
    },
    yAxis: {
      type: "value",
      scale: !(name in TIMES),
      axisLabel: { color: dim, formatter: (value: number) => told(name, value) },
      splitLine: { lineStyle: { color: colour("--line") } },
    },
    series: [
      ...(banded
        ? [
            { ...line, name: "low", data: points.map((point) => point.low), stack: "usual", stackStrategy: "all", lineStyle: { opacity: 0 }, z: 0 },
            { ...line, name: "usual", data: points.map(heightOf), stack: "usual", stackStrategy: "all", lineStyle: { opacity: 0 }, itemStyle: { color: colour("--still-bar") }, areaStyle: { color: colour("--still-bar"), opacity: 0.18 }, z: 0 },
          ]
        : []),
      { ...line, name: "median of good runs", data: points.map((point) => point.median), lineStyle: { type: "dashed", width: 1.5 }, color: colour("--still-bar"), z: 1 },
      {
        type: "line", name, connectNulls: true, color: colour("--run-bar"), lineStyle: { width: 2 }, z: 2,
        data: points.map((point) => ({ value: point.value, symbol: point.good ? "circle" : "emptyCircle" })), symbolSize: 7,
      },
      { type: "line", name: "regression", lineStyle: { opacity: 0 }, symbol: "diamond", symbolSize: 15, color: colour("--bad-bar"), data: points.map((point) => (point.regression ? point.value : null)), z: 3 },
    ],
  };
}

function heightOf(point: TrendPoint): number | null {
  return point.low === null || point.high === null ? null : point.high - point.low;
}

function dayOf(moment: string | undefined): string {
  return moment ? new Date(moment).toLocaleDateString("en-GB", { day: "numeric", month: "short", timeZone: "UTC" }) : "";
}
