import { useQuery } from "@tanstack/react-query";

import { getPart } from "../../api/http";
import { Lines } from "../../parts/feedback";
import { Icon } from "../../parts/Icon";
import { number } from "../../words/number";
import { count, plain } from "../../words/text";
import { readParquet } from "./parquet";
import classes from "./Preview.module.css";
import { Sheet } from "./Sheet";

/** The first rows of a Parquet file, or at least its columns. */
export default function Parquet({ id, size, name }: { id: string; size: number; name: string }) {
  const { data: head, error } = useQuery({
    queryKey: ["parquet", id, size],
    queryFn: ({ signal }) => readParquet({ byteLength: size, slice: (start, end = size) => getPart(`/artifacts/${id}/content`, start, end, signal) }),
    staleTime: Infinity,
    retry: false,
  });
  if (error) return <p className={`panel ${classes["note"] ?? ""}`}><Icon name="unknown" /> <span>A Parquet file that cannot be read here: {plain(error.message)}.</span></p>;
  if (!head) return <Lines number={1} height={160} />;
  const parts = [count(head.total, "row"), count(head.columns.length, "column")];
  const shown = head.rows ? [head.columns.slice(0, head.rows[0]?.length).map((one) => one.name), ...head.rows] : [["column", "type"], ...head.columns.map((one) => [one.name, one.type])];
  return (
    <>
      <Sheet rows={shown} name={name} />
      <p className="muted small tabular">
        Parquet, {parts.join(", ")}.{" "}
        {head.rows === null ? `Its columns alone, for ${plain(head.why)}.` : head.rows.length < head.total && `The first ${number(head.rows.length)} rows.`}
      </p>
    </>
  );
}
