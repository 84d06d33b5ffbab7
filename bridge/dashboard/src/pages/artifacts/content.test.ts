import { describe, expect, it } from "vitest";

import { shownOf } from "./content";

function head(text: string, more: { type?: string; total?: number | null } = {}) {
  const bytes = new TextEncoder().encode(text);
  return { bytes, total: bytes.length, type: "application/octet-stream", ...more };
}

describe("what is shown of a content", () => {
  it("is told by its bytes where nothing else tells", () => {
    expect(shownOf(head(""), "system.Artifact", "")).toEqual({ kind: "empty" });
    expect(shownOf(head("a\u0000b"), "system.Model", "")).toEqual({ kind: "binary", what: "Not text" });
    expect(shownOf(head("PAR1…", { total: 900 }), "system.Dataset", "")).toEqual({ kind: "parquet", size: 900 });
    expect(shownOf(head("PAR1…", { total: null }), "system.Dataset", "").kind).toBe("binary");
    expect(shownOf(head("x", { type: "image/png" }), "system.Artifact", "").kind).toBe("image");
    expect(shownOf(head("<p>hi</p>"), "system.HTML", "file:///report").kind).toBe("html");
    expect(shownOf(head("a model"), "system.Model", "")).toEqual({ kind: "text", text: "a model", more: false });
  });

  it("lays out JSON that is whole", () => {
    expect(shownOf(head('{"a":[1]}'), "system.Artifact", "")).toEqual({ kind: "text", text: '{\n  "a": [\n    1\n  ]\n}', more: false });
    expect(shownOf(head('{"a":[1', { total: 900 }), "system.Artifact", "")).toEqual({ kind: "text", text: '{"a":[1', more: true });
  });

  it("reads comma separated values, a cut row left out", () => {
    const shown = shownOf(head('day,note\n1,"a, ""b"""\r\n2,c\n3,', { total: 999 }), "system.Dataset", "file:///x.csv");
    expect(shown).toEqual({ kind: "table", rows: [["day", "note"], ["1", 'a, "b"'], ["2", "c"]], more: true });
    expect(shownOf(head("Dear all,\nthis, and that, is prose\n"), "system.Artifact", "").kind).toBe("text");
  });

  it("takes a character that is cut off at the end as none", () => {
    const bytes = new TextEncoder().encode("né").slice(0, 2);
    expect(shownOf({ bytes, total: 3, type: "" }, "system.Artifact", "")).toEqual({ kind: "text", text: "n", more: true });
  });
});
