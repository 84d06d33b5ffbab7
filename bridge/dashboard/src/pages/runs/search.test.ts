import { expect, test } from "vitest";

import { withMoment } from "../../api/since";
import { parseSearch, stringifySearch } from "../../words/search";
import { filtersOf, readRunsSearch, stateGroup, toQuery } from "./search";

test("an address is read and written as people and the API write it", () => {
  const search = readRunsSearch(parseSearch("?state=FAILED,PENDING&text=night&metric=a.b%3E1&metric=c%3C2&text2=x&pipeline="));
  expect(search).toEqual({ state: ["FAILED", "PENDING"], text: "night", metric: ["a.b>1", "c<2"] });
  expect(parseSearch(stringifySearch(search))).toEqual(search);
});

test("a value that looks like a number stays text", () => {
  expect(readRunsSearch(parseSearch("?text=42"))).toEqual({ text: "42" });
  expect(stringifySearch({ text: "42" })).toBe("?text=42");
});

test("a length of time is counted from the last full minute, so that a question stays the same for a while", () => {
  const now = Date.UTC(2026, 0, 2, 12, 0, 30);
  expect(withMoment(toQuery({ since: "24h", at: "50", text: "x" }), now)).toEqual({ created_after: "2026-01-01T12:00:00.000Z", text: "x", metrics: 3 });
  expect(withMoment({ since: "soon" }, now)).toEqual({});
});

test("states are a group in any order, or custom", () => {
  expect(stateGroup(["RUNNING", "pending", "PAUSED", "CANCELING"])).toBe("active");
  expect(stateGroup(undefined)).toBe("all");
  expect(stateGroup(["FAILED", "CANCELED"])).toBe("custom");
});

test("filters are what is left without the place in the list", () => {
  expect(filtersOf({ cursor: "x", at: "50", state: ["FAILED"] })).toEqual({ state: ["FAILED"] });
});
