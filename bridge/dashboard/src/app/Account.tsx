import { Button } from "@mantine/core";
import { useMutation } from "@tanstack/react-query";

import type { Session } from "../api/messages";
import { signOut } from "../api/session";
import { Dialog } from "../parts/Dialog";
import { Notice } from "../parts/feedback";
import { useNow } from "../parts/time";
import { EVERY, MEANINGS } from "../words/roles";
import { plain } from "../words/text";
import { span } from "../words/time";
import classes from "./Account.module.css";

const KNOWN_BY: Readonly<Record<string, string>> = {
  setting: "by the token of the bridge's settings",
  token: "by an API token",
  oidc: "by your account at the issuer",
  kubernetes: "by a service account of the cluster",
};

/** Who sits here, what they may do where, and the way out. */
export default function Account({ session, close }: { session: Session; close: () => void }) {
  const now = useNow();
  const out = useMutation({ mutationFn: signOut });
  const roles = Object.entries(session.roles).sort(([one], [other]) => one.localeCompare(other));
  return (
    <Dialog title="Who you are" close={close}>
      <div className={classes["account"]}>
        <p><bdi className={classes["name"]}>{plain(session.name)}</bdi> <span className="muted">known {KNOWN_BY[session.kind] ?? ""}</span></p>
        {roles.length === 0 && <Notice>You have no role in any project, and see nothing. Ask who runs the bridge for one.</Notice>}
        <dl className={classes["roles"]}>
          {roles.map(([project, role]) => (
            <div key={project}>
              <dt>{project === EVERY ? "All projects" : <>Project <bdi>{plain(project)}</bdi></>}</dt>
              <dd><strong>{role}</strong> <span className="muted small">may {MEANINGS[role]}</span></dd>
            </div>
          ))}
        </dl>
        {session.expires_at && <p className="muted small">The session ends in {span(Date.parse(session.expires_at) - now)}.</p>}
        {out.error && <Notice tone="bad">{out.error.message}</Notice>}
        {session.signed_in && <Button variant="default" loading={out.isPending || out.isSuccess} onClick={() => out.mutate()}>Sign out</Button>}
      </div>
    </Dialog>
  );
}
