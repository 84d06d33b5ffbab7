import { expect, test } from "vitest";

import { refusal, refusalAnywhere, roleIn } from "./roles";

const ada = { name: "ada", roles: { risk: "submitter", "*": "viewer" } };

test("the higher role of a project and of all counts", () => {
  expect(roleIn(ada, "risk")).toBe("submitter");
  expect(roleIn(ada, "other")).toBe("viewer");
  expect(roleIn({ name: "", roles: {} }, "risk")).toBeNull();
});

test("what somebody may not do is said with what it takes", () => {
  expect(refusal(ada, "submit", ["risk"])).toBeNull();
  expect(refusal(ada, "submit", ["risk", "other"])).toBe("You are viewer in project other; this takes submitter.");
  expect(refusal(ada, "operate", ["*"])).toBe("You are viewer in all projects together; this takes operator.");
  expect(refusal({ name: "", roles: { "*": "admin" } }, "operate", ["*"])).toBeNull();
});

test("what concerns some project takes a role in one", () => {
  expect(refusalAnywhere(ada, "submit")).toBeNull();
  expect(refusalAnywhere(ada, "operate")).toBe("You may not do this in any project; it takes operator.");
  expect(refusalAnywhere(undefined, "operate")).toBeNull();
});

test("nothing is refused before it is known who sits here", () => {
  expect(refusal(undefined, "operate", ["*"])).toBeNull();
});
