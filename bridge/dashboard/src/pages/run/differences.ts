/** What is different between two runs of a pipeline, as far as their explanations tell. */
import type { Explanation } from "../../api/messages";
import { shown } from "../../words/text";

export interface Difference {
  kind: "pipeline" | "backend" | "parameter" | "data" | "image" | "packages";
  name: string;
  before: string | null;
  after: string | null;
}

/** The differences from `before` to `after`, those of code and data first. */
export function differences(before: Explanation, after: Explanation): Difference[] {
  const one = (kind: Difference["kind"], name: string, a: string | null, b: string | null) => (a === b ? [] : [{ kind, name, before: a, after: b }]);
  return [
    ...one("pipeline", "spec", before.run.pipeline.digest.slice(0, 12), after.run.pipeline.digest.slice(0, 12)),
    ...between("image", before.images, after.images),
    ...between("packages", listed(before.packages), listed(after.packages)),
    ...between("data", dataOf(before), dataOf(after)),
    ...between("parameter", before.parameters, after.parameters),
    ...one("backend", "backend", before.run.backend, after.run.backend),
  ];
}

function between(kind: Difference["kind"], before: Readonly<Record<string, unknown>>, after: Readonly<Record<string, unknown>>): Difference[] {
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names.flatMap((name) => {
    const a = name in before ? shown(before[name]) : null;
    const b = name in after ? shown(after[name]) : null;
    return a === b ? [] : [{ kind, name, before: a, after: b }];
  });
}

function listed(packages: Readonly<Record<string, readonly string[]>>): Record<string, string> {
  return Object.fromEntries(Object.entries(packages).map(([name, found]) => [name, found.join(", ")]));
}

function dataOf(one: Explanation): Record<string, string> {
  return Object.fromEntries(one.inputs.map((input) => [input.uri, input.version?.slice(0, 12) ?? "version unknown"]));
}
