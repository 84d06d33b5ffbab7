import { describe, expect, it } from "vitest";

import { changed, readArtifactsSearch, toQuery } from "./search";

describe("the address of the Artifacts page", () => {
  it("means models where it names no type", () => {
    expect(toQuery(readArtifactsSearch({}))).toEqual({ type: "system.Model" });
    expect(readArtifactsSearch({ type: "system.Model" })).toEqual({});
    expect(toQuery(readArtifactsSearch({ type: "any", text: "auc" }))).toEqual({ text: "auc" });
  });

  it("begins anew with each change", () => {
    const search = readArtifactsSearch({ cursor: "abc", pipeline: "train", nonsense: "x" });
    expect(changed(search, "text", "auc")).toEqual({ pipeline: "train", text: "auc" });
    expect(changed(search, "pipeline", "")).toEqual({});
    expect(changed({ type: "any" }, "type", "system.Model")).toEqual({});
  });
});
