/** A chart of lines, of ECharts. To be imported lazily only: it is as large as the page around it. */
import { useComputedColorScheme } from "@mantine/core";
import { LineChart } from "echarts/charts";
import { GridComponent, TooltipComponent } from "echarts/components";
import { init, use as register, type EChartsCoreOption } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";
import { useEffect, useRef } from "react";

register([CanvasRenderer, GridComponent, LineChart, TooltipComponent]);

/** The colours of series, in their order; a legend beside the chart takes them from here. */
export const SERIES = ["--run-bar", "--wait-bar", "--good-bar", "--bad-bar", "--still-bar"] as const;

/** Reads a colour of the theme, which a canvas cannot refer to by its name. */
export type Colour = (variable: string) => string;

interface Props {
  /** What the chart tells, for who does not see it. */
  label: string;
  height?: number;
  option: (colour: Colour) => EChartsCoreOption;
  /** Called with the name of what was pressed. */
  press?: (name: string) => void;
}

export default function Chart({ label, height = 300, option, press }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme("light");
  useEffect(() => {
    if (!place.current) return;
    const style = getComputedStyle(place.current);
    const colour = (variable: string) => style.getPropertyValue(variable).trim();
    const chart = init(place.current, null, { renderer: "canvas" });
    // Tooltips of text, not of HTML: the page's policy lets no style in that comes as text.
    const tooltip = { renderMode: "richText", backgroundColor: colour("--panel"), borderColor: colour("--line"), textStyle: { color: colour("--mantine-color-text") } };
    const { tooltip: more, ...rest } = option(colour);
    chart.setOption({
      animation: false,
      textStyle: { fontFamily: style.fontFamily, color: colour("--mantine-color-text") },
      color: SERIES.map(colour),
      tooltip: { ...tooltip, ...(more as object | undefined) },
      ...rest,
    });
    if (press) chart.on("click", (event) => press(event.name));
    const resized = new ResizeObserver(() => chart.resize());
    resized.observe(place.current);
    return () => {
      resized.disconnect();
      chart.dispose();
    };
  }, [option, press, scheme]);
  return <div ref={place} role="img" aria-label={label} style={{ height, width: "100%" }} />;
}
