/** The pages that the header leads to; a new page: add it here and to `router.tsx`. `exact`: not for what lies below it. */
export const PAGES = [
  { to: "/", name: "Runs", exact: true },
  { to: "/pipelines", name: "Pipelines", exact: false },
  { to: "/compare", name: "Compare", exact: false },
  { to: "/lineage", name: "Lineage", exact: false },
  { to: "/oncall", name: "On call", exact: false },
  { to: "/artifacts", name: "Artifacts", exact: false },
  { to: "/cost", name: "Cost", exact: false },
  { to: "/backends", name: "Status", exact: false },
] as const;
