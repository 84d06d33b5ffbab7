/** What the address of the Artifacts page holds. */
import type { Query } from "../../api/http";
import { oneOf } from "../../words/search";

export interface ArtifactsSearch {
  /** A type of artifact, or `any`; left out: models. */
  type?: string;
  pipeline?: string;
  text?: string;
  cursor?: string;
}

export const MODEL = "system.Model";
export const ANY = "any";
export const TYPES = [
  { value: MODEL, label: "Models" },
  { value: "system.Dataset", label: "Datasets" },
  { value: "system.Metrics", label: "Metrics" },
  { value: "system.HTML", label: "HTML" },
  { value: ANY, label: "All" },
] as const;

const NAMES = ["type", "pipeline", "text", "cursor"] as const;

export function readArtifactsSearch(given: Record<string, unknown>): ArtifactsSearch {
  const found: ArtifactsSearch = {};
  for (const name of NAMES) {
    const value = oneOf(given[name]);
    if (value !== undefined && !(name === "type" && value === MODEL)) found[name] = value;
  }
  return found;
}

/** The parameters of `GET /artifacts` that a search means. */
export function toQuery(search: ArtifactsSearch): Query {
  const { type = MODEL, ...rest } = search;
  return type === ANY ? { ...rest } : { ...rest, type };
}

/** The search with another value, from its first page on. */
export function changed(search: ArtifactsSearch, name: "type" | "pipeline" | "text", value: string): ArtifactsSearch {
  return readArtifactsSearch({ ...search, cursor: undefined, [name]: value });
}
