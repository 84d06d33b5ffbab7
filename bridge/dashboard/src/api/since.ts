import type { Query } from "./http";

const UNITS: Record<string, number> = { h: 3_600_000, d: 86_400_000 };

/** A query of runs with its `since` (a length of time, such as `24h`) as a moment, counted from the last full minute. */
export function withMoment({ since, ...rest }: Query, now: number): Query {
  const match = typeof since === "string" ? /^(\d+)([hd])$/.exec(since) : null;
  if (!match) return rest;
  const length = Number(match[1]) * (UNITS[match[2] ?? ""] ?? 0);
  return { ...rest, created_after: new Date(Math.floor(now / 60_000) * 60_000 - length).toISOString() };
}
