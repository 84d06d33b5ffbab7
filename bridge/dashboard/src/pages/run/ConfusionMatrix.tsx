import { number } from "../../words/number";
import { plain } from "../../words/text";
import type { Confusion } from "./blobs";
import classes from "./ConfusionMatrix.module.css";

/** What was said of what was, as numbers with their share of the row; stronger colour, larger share. */
export function ConfusionMatrix({ matrix }: { matrix: Confusion }) {
  return (
    <div className={classes["scroll"]} data-scrolls tabIndex={0} role="group" aria-label="Confusion matrix">
      <table className={classes["matrix"]}>
        <thead>
          <tr>
            <th scope="col"><span className="muted">actual ↓ predicted →</span></th>
            {matrix.names.map((name) => <th key={name} scope="col"><bdi>{plain(name)}</bdi></th>)}
          </tr>
        </thead>
        <tbody>
          {matrix.rows.map((row, index) => {
            const total = row.reduce((sum, one) => sum + one, 0);
            return (
              <tr key={matrix.names[index]}>
                <th scope="row"><bdi>{plain(matrix.names[index] ?? "")}</bdi></th>
                {row.map((value, column) => {
                  const share = total > 0 ? value / total : 0;
                  return (
                    <td key={column} data-right={index === column || undefined} style={{ ["--share" as string]: `${Math.round(share * 34)}%` }}>
                      <strong className="tabular">{number(value)}</strong>
                      <span className="small tabular">{Math.round(share * 100)} %</span>
                    </td>
                  );
                })}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
