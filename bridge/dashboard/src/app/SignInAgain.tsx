import { Button } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";

import { askWhether, inside } from "../api/http";
import { useSignedOut } from "../api/signedOut";
import classes from "./SignInAgain.module.css";

const LOOK_MS = 5000;

/** Says that the session has ended, above whatever is open. Signing in takes a window of its own: this one keeps what it shows. */
export function SignInAgain() {
  const client = useQueryClient();
  const out = useSignedOut();
  useEffect(() => {
    if (!out) return undefined;
    const look = () => {
      if (!document.hidden) void askWhether().then((known) => (known ? client.invalidateQueries() : undefined));
    };
    const timer = setInterval(look, LOOK_MS);
    window.addEventListener("focus", look);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      window.removeEventListener("focus", look);
      document.removeEventListener("visibilitychange", look);
    };
  }, [out, client]);
  if (!out) return null;
  return (
    <section className={classes["bar"]} role="alert" aria-label="The session has ended">
      <p><strong>Your session has ended.</strong> The page stays as it is, and goes on when you have signed in again.</p>
      <Button component="a" variant="default" href={inside("/login/start?return_to=/login/done")} target="_blank">Sign in again</Button>
    </section>
  );
}
