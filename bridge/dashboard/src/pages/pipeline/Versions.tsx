import type { Pipeline } from "../../api/messages";
import { Copy } from "../../parts/Copy";
import { Tag } from "../../parts/State";
import { When } from "../../parts/time";
import { plain } from "../../words/text";
import classes from "./PipelinePage.module.css";

const DIGITS = 12;

/** The newest versions and what each is called. */
export function Versions({ pipeline }: { pipeline: Pipeline }) {
  const { versions, aliases } = pipeline;
  if (versions.length === 0) return null;
  return (
    <section aria-labelledby="versions-title" className={classes["section"]}>
      <h2 id="versions-title">Versions</h2>
      <div className="panel">
        <table className={classes["versions"]}>
          <thead>
            <tr><th scope="col">Digest</th><th scope="col">Name</th><th scope="col">First seen</th></tr>
          </thead>
          <tbody>
            {versions.map((version) => (
              <tr key={version.digest}>
                <th scope="row"><code title={`sha256 ${version.digest}`}>{version.digest.slice(0, DIGITS)}</code> <Copy value={version.digest} what={`digest ${version.digest.slice(0, DIGITS)}`} /></th>
                <td>
                  {version.version_name ? <bdi>{plain(version.version_name)}</bdi> : <span className="muted">—</span>}{" "}
                  {aliases.filter((alias) => alias.digest === version.digest).map((alias) => <Tag key={alias.alias} tone="run">{plain(alias.alias)}</Tag>)}
                </td>
                <td><When at={version.created_at} /></td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
