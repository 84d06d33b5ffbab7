import type { BackendStatus } from "../../api/messages";
import { plain } from "../../words/text";
import { span } from "../../words/time";
import classes from "./BackendCard.module.css";

/** What waits before a backend, project by project. */
export function Queues({ backend }: { backend: BackendStatus }) {
  return (
    <table className={classes["queues"]}>
      <caption className="unseen">The queue before backend {backend.name}, by project</caption>
      <thead>
        <tr>
          <th scope="col">Project</th>
          <th scope="col">Under way</th>
          <th scope="col" className={classes["number"]}>Waiting</th>
          <th scope="col" className={classes["number"]}>Longest</th>
          <th scope="col" className={`${classes["number"] ?? ""} ${classes["weight"] ?? ""}`}>Weight</th>
        </tr>
      </thead>
      <tbody>
        {backend.queues.map((one) => (
          <tr key={one.project}>
            <td><bdi>{plain(one.project)}</bdi></td>
            <td>
              <span className={classes["room"]}>
                <span className={classes["bar"]} data-full={one.active >= one.max_active_runs || undefined} aria-hidden="true">
                  <span style={{ width: `${Math.min(100, (100 * one.active) / Math.max(1, one.max_active_runs))}%` }} />
                </span>
                <span>{one.active.toLocaleString("en")} of {one.max_active_runs.toLocaleString("en")}</span>
              </span>
            </td>
            <td className={classes["number"]}>{one.waiting.toLocaleString("en")}</td>
            <td className={classes["number"]}>{one.oldest_seconds === null ? "—" : span(one.oldest_seconds * 1000)}</td>
            <td className={`${classes["number"] ?? ""} ${classes["weight"] ?? ""}`}>{one.weight}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
