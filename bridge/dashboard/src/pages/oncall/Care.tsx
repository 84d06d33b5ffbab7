import { Icon } from "../../parts/Icon";
import { plain } from "../../words/text";
import classes from "./OnCallPage.module.css";

/** Who looks after it, and where it is written what to do. */
export function Care({ owner, runbook }: { owner: string | null; runbook: string | null }) {
  if (!owner && !runbook) return null;
  const isLink = runbook !== null && /^https?:\/\//.test(runbook);
  return (
    <p className={classes["care"]}>
      {owner && <span>Owner <strong><bdi>{plain(owner)}</bdi></strong></span>}
      {runbook && (isLink ? <a href={runbook} rel="noreferrer">Runbook <Icon name="external" size={13} /></a> : <span>Runbook <bdi>{plain(runbook)}</bdi></span>)}
    </p>
  );
}
