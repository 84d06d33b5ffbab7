/** What an artifact is called where it has no name of its own. */
interface Named {
  name: string | null;
  uri: string | null;
  artifact_id: string;
  key?: string | null;
}

/** Kinds whose content is their metadata: that nothing lies at their address is no loss. */
const WITHOUT_CONTENT = new Set(["system.Metrics", "system.ClassificationMetrics", "system.SlicedClassificationMetrics"]);

/** Whether what the artifact names should be there and was not. */
export function isGone(one: { type: string; content: string | null }): boolean {
  return one.content === "unavailable" && !WITHOUT_CONTENT.has(one.type);
}

/** The end of a long address, which tells artifacts apart. */
export function endOf(uri: string): string {
  const parts = uri.split("/");
  return uri.length <= 64 || parts.length <= 5 ? uri : `…/${parts.slice(-3).join("/")}`;
}

export function nameOf(one: Named): string {
  const last = one.uri?.replace(/[/?#]+$/, "").split("/").at(-1);
  return (one.name ?? "") || (one.key ?? "") || (last ?? "") || one.artifact_id.slice(0, 8);
}
