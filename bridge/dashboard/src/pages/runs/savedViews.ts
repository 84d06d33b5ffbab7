/** Views that this browser keeps. What another version or a hand wrote there is left out, not trusted. */
import { useState } from "react";

import { readRunsSearch, type RunsSearch } from "./search";

const PLACE = "kfbridge.views";

export interface View {
  name: string;
  search: RunsSearch;
}

export function readViews(text: string | null): View[] {
  let found: unknown;
  try {
    found = JSON.parse(text ?? "[]");
  } catch {
    return [];
  }
  if (!Array.isArray(found)) return [];
  return (found as unknown[]).flatMap((one) => {
    const { name, search } = (one ?? {}) as { name?: unknown; search?: unknown };
    if (typeof name !== "string" || typeof search !== "object" || search === null) return [];
    return [{ name, search: readRunsSearch(search as Record<string, unknown>) }];
  });
}

export function useSavedViews() {
  const [views, setViews] = useState(() => readViews(localStorage.getItem(PLACE)));
  const keep = (next: View[]) => {
    localStorage.setItem(PLACE, JSON.stringify(next));
    setViews(next);
  };
  return {
    views,
    save: (name: string, search: RunsSearch) => keep([...views.filter((one) => one.name !== name), { name, search }]),
    remove: (name: string) => keep(views.filter((one) => one.name !== name)),
  };
}
