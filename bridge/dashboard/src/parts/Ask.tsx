import { Button } from "@mantine/core";
import type { ReactNode } from "react";

import classes from "./Ask.module.css";
import { Dialog } from "./Dialog";
import { Notice } from "./feedback";

interface Props {
  opened: boolean;
  close: () => void;
  title: string;
  action: string;
  /** Does it; while it is under way `busy` says so, and `error` what went wrong. */
  act: () => void;
  busy: boolean;
  error?: Error | null;
  /** Whether something ends by it. */
  grave?: boolean;
  children: ReactNode;
}

/** Asks before something is done that others notice. */
export function Ask({ opened, close, title, action, act, busy, error = null, grave = false, children }: Props) {
  if (!opened) return null;
  return (
    <Dialog title={title} close={close}>
      <form className={classes["ask"]} onSubmit={(event) => { event.preventDefault(); act(); }}>
        {children}
        {error && <Notice tone="bad">{error.message}</Notice>}
        <div className={classes["buttons"]}>
          <Button variant="default" onClick={close}>Leave it</Button>
          <Button type="submit" color={grave ? "red.9" : "bridge"} loading={busy}>{action}</Button>
        </div>
      </form>
    </Dialog>
  );
}
