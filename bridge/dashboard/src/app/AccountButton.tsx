import { UnstyledButton } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";

import { sessionQuery } from "../api/session";
import { Icon } from "../parts/Icon";
import { plain } from "../words/text";
import classes from "./AccountButton.module.css";

const Account = lazy(() => import("./Account"));

/** Who is signed in; a press tells what they may do. Nothing, where nobody is asked who they are. */
export function AccountButton() {
  const { data: session } = useQuery(sessionQuery());
  const [open, setOpen] = useState(false);
  if (!session || session.kind === "nobody") return null;
  return (
    <>
      <UnstyledButton className={classes["who"] ?? ""} title={session.name} aria-label={`Account: ${session.name}`} onClick={() => setOpen(true)}>
        <Icon name="person" />
        <bdi className={classes["name"]}>{plain(session.name)}</bdi>
      </UnstyledButton>
      {open && <Suspense><Account session={session} close={() => setOpen(false)} /></Suspense>}
    </>
  );
}
