import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";

const SANS =
  'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", "DejaVu Sans", Arial, sans-serif';
const MONO = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace';

const bridge: MantineColorsTuple = [
  "#eef5fd", "#dbe8f8", "#b4cff0", "#89b4e8", "#669de2", "#4f8fde", "#2f7fd6", "#0b56a4", "#084a90", "#033e7d",
];

// Mantine takes the grounds and lines of dark fields from here; the eighth is the page's ground.
const dark: MantineColorsTuple = [
  "#e5eaf1", "#b4c0ce", "#9ba8b8", "#717d8d", "#39434f", "#2a323e", "#1b212a", "#0f1319", "#11161d", "#0b0e13",
];

export const theme = createTheme({
  primaryColor: "bridge",
  primaryShade: { light: 7, dark: 6 },
  colors: { bridge, dark },
  fontFamily: SANS,
  fontFamilyMonospace: MONO,
  headings: { fontFamily: SANS, fontWeight: "650" },
  defaultRadius: "md",
  cursorType: "pointer",
  focusRing: "auto",
  respectReducedMotion: true,
});

/** The colours of the pages; each pair of text and ground has a contrast of 4.5 or more. */
export const variables: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-body": "#f6f7f9",
    "--mantine-color-text": "#18202b",
    "--mantine-color-dimmed": "#566172",
    "--mantine-color-placeholder": "#667182",
    "--mantine-color-anchor": "#0b56a4",
    "--mantine-color-default-border": "#cfd6df",
    "--panel": "#ffffff", "--sunken": "#f1f3f6", "--line": "#e0e5eb", "--edge": "#848e9d", "--hover": "#f3f7fc",
    "--good": "#0d673a", "--good-ground": "#e2f4ea", "--good-bar": "#2c9d62",
    "--bad": "#a3201e", "--bad-ground": "#fdeceb", "--bad-bar": "#d64541",
    "--run": "#0b56a4", "--run-ground": "#e4effb", "--run-bar": "#3f86d8",
    "--wait": "#744c00", "--wait-ground": "#fcf1d8", "--wait-bar": "#dba63a",
    "--still": "#485364", "--still-ground": "#eaedf1", "--still-bar": "#9aa5b3",
  },
  dark: {
    "--mantine-color-body": "#0f1319",
    "--mantine-color-text": "#e5eaf1",
    "--mantine-color-dimmed": "#9ba8b8",
    "--mantine-color-placeholder": "#8b98a9",
    "--mantine-color-anchor": "#86bbff",
    "--mantine-color-default": "#1b212a",
    "--mantine-color-default-hover": "#232b36",
    "--mantine-color-default-border": "#39434f",
    "--panel": "#171c24", "--sunken": "#11161d", "--line": "#2a323e", "--edge": "#717d8d", "--hover": "#1c232d",
    "--good": "#6fd69e", "--good-ground": "#15301f", "--good-bar": "#3fae74",
    "--bad": "#ff9d97", "--bad-ground": "#3a1b1c", "--bad-bar": "#e2605a",
    "--run": "#8fc1ff", "--run-ground": "#152a43", "--run-bar": "#4a90e2",
    "--wait": "#f0c66d", "--wait-ground": "#352a12", "--wait-bar": "#c9962f",
    "--still": "#b4c0ce", "--still-ground": "#252d38", "--still-bar": "#66727f",
  },
});
