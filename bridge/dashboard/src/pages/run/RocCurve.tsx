import { useCallback } from "react";

import Chart, { SERIES, type Colour } from "../../parts/Chart";
import { number } from "../../words/number";
import classes from "./RocCurve.module.css";
import { areaUnder, type RocPoint } from "./blobs";

export interface NamedCurve {
  name: string;
  points: readonly RocPoint[];
}

/** ROC curves over each other, with the line of guessing. */
export default function RocCurve({ curves }: { curves: readonly NamedCurve[] }) {
  const option = useCallback((colour: Colour) => {
    const axis = { type: "value", min: 0, max: 1, splitLine: { lineStyle: { color: colour("--line") } }, axisLabel: { color: colour("--mantine-color-dimmed") }, nameLocation: "middle" };
    return {
      grid: { left: 48, right: 16, top: 12, bottom: 44 },
      tooltip: { trigger: "axis", axisPointer: { type: "line" }, valueFormatter: (value: unknown) => (typeof value === "number" ? number(value) : "") },
      xAxis: { ...axis, name: "false positive rate", nameGap: 26, nameTextStyle: { color: colour("--mantine-color-dimmed") } },
      yAxis: { ...axis, name: "recall", nameGap: 32, nameTextStyle: { color: colour("--mantine-color-dimmed") } },
      series: [
        ...curves.map((curve) => ({ type: "line", name: curve.name, symbolSize: 4, data: curve.points.map((point) => [point.falsePositives, point.recall]), areaStyle: curves.length === 1 ? { opacity: 0.08 } : null })),
        { type: "line", name: "guessing", data: [[0, 0], [1, 1]], symbol: "none", silent: true, tooltip: { show: false }, lineStyle: { type: "dashed", width: 1, color: colour("--edge") } },
      ],
    };
  }, [curves]);
  const told = curves.map((curve) => `${curve.name}: area ${number(areaUnder(curve.points))}`);
  return (
    <>
      <Chart label={`ROC curve. ${told.join("; ")}`} option={option} />
      <ul className={classes["legend"]} aria-label="Curves">
        {told.map((text, index) => <li key={text}><i style={{ background: `var(${SERIES[index % SERIES.length] ?? SERIES[0]})` }} aria-hidden="true" /> <span className="tabular">{text}</span></li>)}
      </ul>
    </>
  );
}
