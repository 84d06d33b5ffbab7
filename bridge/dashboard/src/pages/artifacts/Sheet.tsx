import { plain } from "../../words/text";
import classes from "./Preview.module.css";

/** Rows below their first, which names the columns. */
export function Sheet({ rows, name }: { rows: readonly (readonly string[])[]; name: string }) {
  const [head = [], ...body] = rows;
  return (
    <div className={`panel ${classes["sheet"] ?? ""}`} tabIndex={0} role="region" aria-label={`The table ${plain(name)}`} data-scrolls>
      <table>
        <thead><tr>{head.map((one, index) => <th key={index} scope="col">{plain(one)}</th>)}</tr></thead>
        <tbody>
          {body.map((row, index) => <tr key={index}>{row.map((one, at) => <td key={at}>{plain(one)}</td>)}</tr>)}
        </tbody>
      </table>
    </div>
  );
}
