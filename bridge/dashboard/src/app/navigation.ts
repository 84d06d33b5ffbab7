/** The pages that the header leads to; a new page: add it here and to `router.tsx`. */
export const PAGES = [{ to: "/", name: "Runs" }] as const;
