/** What stands beside a word is drawn, not typed: a glyph would depend on the reader's fonts. */
const PATHS = {
  SUCCEEDED: "M3 8.5 6.5 12 13 4.5",
  FAILED: "m4 4 8 8m0-8-8 8",
  RUNNING: "M5.5 3.4v9.2L12.6 8z",
  PENDING: "M8 2.4a5.6 5.6 0 1 0 0 11.2A5.6 5.6 0 0 0 8 2.4m0 2.4V8l2.2 1.6",
  CANCELED: "M8 2.4a5.6 5.6 0 1 0 0 11.2A5.6 5.6 0 0 0 8 2.4M4.2 11.8l7.6-7.6",
  CANCELING: "M8 2.4a5.6 5.6 0 1 0 0 11.2A5.6 5.6 0 0 0 8 2.4M5.5 8h5",
  SKIPPED: "m3.5 4 4.5 4-4.5 4m5-8L13 8l-4.5 4",
  PAUSED: "M5.5 3.5v9m5-9v9",
  unknown: "M5.6 6a2.4 2.4 0 1 1 3.6 2c-.8.5-1.2.9-1.2 1.8m0 2.4v.1",
  person: "M8 2.5a2.7 2.7 0 1 0 0 5.4 2.7 2.7 0 0 0 0-5.4M2.8 13.5c.6-2.6 2.7-3.8 5.2-3.8s4.6 1.2 5.2 3.8",
  search: "M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9m3.4 7.9 3.1 3.1",
  plus: "M8 3.2v9.6M3.2 8h9.6",
  close: "m4.5 4.5 7 7m0-7-7 7",
  copy: "M6 5.5h6.5v8H6zM3.5 10.5v-8H10",
  external: "M6.5 3.5h-3v9h9v-3M9.5 3h3.5v3.5M13 3 7.5 8.5",
  right: "m6 3.5 4.5 4.5L6 12.5",
  down: "M3.5 6 8 10.5 12.5 6",
  left: "M10 3.5 5.5 8l4.5 4.5",
  sun: "M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.4v1.4m0 10.4v1.4M1.4 8h1.4m10.4 0h1.4M3.3 3.3l1 1m7.4 7.4 1 1m0-9.4-1 1m-7.4 7.4-1 1",
  moon: "M13 9.6A5.5 5.5 0 0 1 6.4 3 5.5 5.5 0 1 0 13 9.6",
  system: "M2.5 3h11v7.5h-11zM6 13.2h4",
  menu: "M2.5 4.5h11M2.5 8h11m-11 3.5h11",
  bookmark: "M4.5 2.5h7v11L8 10.8l-3.5 2.7z",
  clock: "M8 2.4a5.6 5.6 0 1 0 0 11.2A5.6 5.6 0 0 0 8 2.4m0 2.4V8l2.2 1.6",
  warning: "M8 2.6 14 13H2zm0 3.9v3m0 1.7v.1",
  keyboard: "M1.8 4.2h12.4v7.6H1.8zM4.4 7h.1m2.3 0h.1m2.3 0h.1m2.3 0h.1M5 9.4h6",
  retry: "M12.8 8A4.8 4.8 0 1 1 11.3 4.5M12.6 2.4v2.8H9.8",
  stop: "M4 4h8v8H4z",
  download: "M8 2.5v7.5m-3-3 3 3 3-3M3 13h10",
  lineage: "M3.5 2.8a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4m9 3.5a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4m-9 3.5a1.7 1.7 0 1 0 0 3.4 1.7 1.7 0 0 0 0-3.4M5.1 5l5.8 2.4M5.1 11l5.8-2.4",
  compare: "M5.5 2.5v11m5-11v11M2.5 5.5l3-3 3 3m-1 5 3 3 3-3",
  data: "M3 4.2c0-1 2.2-1.8 5-1.8s5 .8 5 1.8S10.8 6 8 6s-5-.8-5-1.8v7.6c0 1 2.2 1.8 5 1.8s5-.8 5-1.8V4.2M3 8c0 1 2.2 1.8 5 1.8S13 9 13 8",
  model: "M8 2 13.5 5v6L8 14l-5.5-3V5zM2.5 5 8 8l5.5-3M8 8v6",
  artifact: "M4 2h5l3 3v9H4zm5 0v3h3",
  task: "M3 3h10v10H3zm3 5h4",
  run: "M2 8h2.8l2-4.5 2.7 9 2-4.5H14",
  job: "M8 8c0-3 .8-5.5 3.2-5.5S12 8 8 8m0 0c3 0 5.5.8 5.5 3.2S8 12 8 8m0 0c0 3-.8 5.5-3.2 5.5S4 8 8 8m0 0C5 8 2.5 7.2 2.5 4.8S8 4 8 8",
} as const;

export type IconName = keyof typeof PATHS;
const FILLED = new Set<IconName>(["RUNNING", "stop"]);

export function isIcon(name: string): name is IconName {
  return name in PATHS;
}

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  const filled = FILLED.has(name);
  return (
    <svg width={size} height={size} viewBox="0 0 16 16" aria-hidden="true" focusable="false" fill={filled ? "currentColor" : "none"}
      stroke={filled ? "none" : "currentColor"} strokeWidth={1.6} strokeLinecap="round" strokeLinejoin="round">
      <path d={PATHS[name]} />
    </svg>
  );
}
