/** Structured metrics, as KFP writes them. What has another shape is shown as JSON. */

export interface RocPoint {
  threshold: number;
  falsePositives: number;
  recall: number;
}

/** The points of a curve from the lower left to the upper right, or `null` if it is none. */
export function rocOf(content: unknown): RocPoint[] | null {
  if (!Array.isArray(content) || content.length === 0) return null;
  const points = (content as unknown[]).map((one) => {
    const { confidenceThreshold, falsePositiveRate, recall } = (one ?? {}) as Record<string, unknown>;
    return { threshold: Number(confidenceThreshold ?? 0), falsePositives: Number(falsePositiveRate ?? 0), recall: Number(recall ?? 0) };
  });
  if (points.some((one) => !Number.isFinite(one.falsePositives) || !Number.isFinite(one.recall))) return null;
  return points.sort((a, b) => a.falsePositives - b.falsePositives || a.recall - b.recall);
}

/** The area below the curve, by trapezoids between its points. */
export function areaUnder(points: readonly RocPoint[]): number {
  let area = 0;
  let before = { falsePositives: 0, recall: 0 };
  for (const point of [...points, { falsePositives: 1, recall: 1 }]) {
    area += ((point.falsePositives - before.falsePositives) * (point.recall + before.recall)) / 2;
    before = point;
  }
  return area;
}

export interface Confusion {
  names: string[];
  rows: number[][];
}

/** A square matrix with its categories, or `null` if it is none. Rows are what was, columns what was said. */
export function confusionOf(content: unknown): Confusion | null {
  const { annotationSpecs, rows } = (content ?? {}) as { annotationSpecs?: unknown; rows?: unknown };
  if (!Array.isArray(rows)) return null;
  const numbers = (rows as unknown[]).map((one) => {
    const row = (one as { row?: unknown } | null)?.row;
    return Array.isArray(row) ? row.map(Number) : [];
  });
  if (numbers.length === 0 || numbers.some((row) => row.length !== numbers.length || row.some(Number.isNaN))) return null;
  const specs = Array.isArray(annotationSpecs) ? (annotationSpecs as { displayName?: unknown }[]) : [];
  return { names: numbers.map((_, index) => (typeof specs[index]?.displayName === "string" ? specs[index].displayName : String(index))), rows: numbers };
}
