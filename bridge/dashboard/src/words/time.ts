/** Times and lengths of time in words. */

const SPANS = [
  [86400, "d", 3600, "h"],
  [3600, "h", 60, "min"],
  [60, "min", 1, "s"],
] as const;

/** A length of time in its two largest units. Backends tell whole seconds: nothing between two is not nothing. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, milliseconds / 1000);
  for (const [size, unit, smaller, smallerUnit] of SPANS) {
    if (seconds < size) continue;
    const rest = Math.floor((Math.floor(seconds) % size) / smaller);
    return `${Math.floor(seconds / size)} ${unit} ${rest} ${smallerUnit}`;
  }
  if (seconds < 0.1) return "< 1 s";
  return seconds >= 10 ? `${Math.floor(seconds)} s` : `${Math.floor(seconds * 10) / 10} s`;
}

/** How long ago a moment was, in its largest unit. */
export function ago(moment: string, now: number): string {
  const seconds = (now - Date.parse(moment)) / 1000;
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]] as const) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  }
  return seconds >= 10 ? `${Math.floor(seconds)} s ago` : "just now";
}

/** A moment in UTC, to the second. */
export function exact(moment: string): string {
  return new Date(moment).toISOString().slice(0, 19).replace("T", " ");
}

/** The part of a day a moment falls on, in UTC. */
export function clock(moment: string): string {
  return new Date(moment).toISOString().slice(11, 19);
}
