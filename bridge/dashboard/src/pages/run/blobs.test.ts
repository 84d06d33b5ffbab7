import { expect, test } from "vitest";

import { areaUnder, confusionOf, rocOf } from "./blobs";

test("a curve is sorted, and its area is that of its trapezoids", () => {
  const points = rocOf([
    { confidenceThreshold: 0.2, falsePositiveRate: 0.5, recall: 1 },
    { confidenceThreshold: 0.8, falsePositiveRate: 0, recall: 0.5 },
  ]);
  expect(points?.map((one) => one.threshold)).toEqual([0.8, 0.2]);
  expect(areaUnder(points ?? [])).toBeCloseTo(0.875);
});

test("what is no curve is none", () => {
  for (const content of [null, [], {}, [{ falsePositiveRate: "x" }]]) expect(rocOf(content)).toBeNull();
});

test("a matrix has a name for each row", () => {
  const content = { annotationSpecs: [{ displayName: "late" }], rows: [{ row: [3, 1] }, { row: [0, 2] }] };
  expect(confusionOf(content)).toEqual({ names: ["late", "1"], rows: [[3, 1], [0, 2]] });
  for (const bad of [null, {}, { rows: [{ row: [1, 2] }] }, { rows: [{}] }]) expect(confusionOf(bad)).toBeNull();
});
