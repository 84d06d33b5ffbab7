/** What stands after the ? of an address, as plain names and values: people write and read it, and so does the API. */

export type Search = Record<string, string | string[]>;

export function parseSearch(text: string): Search {
  const found: Search = {};
  const all = new URLSearchParams(text);
  for (const name of new Set(all.keys())) {
    const values = all.getAll(name).filter((value) => value !== "");
    if (values.length > 1) found[name] = values;
    else if (values[0] !== undefined) found[name] = values[0];
  }
  return found;
}

export function stringifySearch(search: Record<string, unknown>): string {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) {
    for (const one of Array.isArray(value) ? (value as unknown[]) : [value]) {
      if (typeof one === "string" && one !== "") written.append(name, one);
    }
  }
  const text = written.toString();
  return text ? `?${text}` : "";
}

/** The values of a parameter that may be given several times, or once with commas. */
export function listOf(value: unknown): string[] {
  const all = Array.isArray(value) ? (value as unknown[]) : [value];
  return all.flatMap((one) => (typeof one === "string" ? one.split(",") : [])).map((one) => one.trim()).filter(Boolean);
}

/** The value of a parameter that is given once. */
export function oneOf(value: unknown): string | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === "string" && first !== "" ? first : undefined;
}
