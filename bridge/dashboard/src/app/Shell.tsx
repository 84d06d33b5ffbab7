/** What surrounds each page: the way to the others, how live it is, the theme, and the keys that work everywhere. */
import { ActionIcon } from "@mantine/core";
import { Link, Outlet, useLocation } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useState } from "react";

import { useLiveUpdates } from "../api/live";
import icon from "../icon.svg";
import { Icon } from "../parts/Icon";
import { AccountButton } from "./AccountButton";
import { LiveSign } from "./LiveSign";
import { useKeys } from "./keys";
import { PAGES } from "./navigation";
import classes from "./Shell.module.css";
import { SignInAgain } from "./SignInAgain";
import { ThemeSwitch } from "./ThemeSwitch";

const KeysHelp = lazy(() => import("./KeysHelp"));

export function Shell() {
  useLiveUpdates();
  const [help, setHelp] = useState(false);
  useKeys({ "?": () => setHelp(true) });
  return (
    <>
      <a className={classes["skip"]} href="#main">Skip to the content</a>
      <header className={classes["top"]}>
        <div className={classes["inner"]}>
          <Link to="/" className={classes["brand"] ?? ""}>
            <img src={icon} alt="" width={22} height={22} />
            kfbridge
          </Link>
          <Navigation />
          <div className={classes["tools"]}>
            <LiveSign />
            <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Keys" title="Keys" className={classes["keys"] ?? ""} onClick={() => setHelp(true)}>
              <Icon name="keyboard" />
            </ActionIcon>
            <ThemeSwitch />
            <AccountButton />
          </div>
        </div>
      </header>
      <main id="main" tabIndex={-1} className={classes["main"]}>
        <Outlet />
      </main>
      {help && <Suspense><KeysHelp close={() => setHelp(false)} /></Suspense>}
      <SignInAgain />
      <Announcer />
    </>
  );
}

/** The pages; on a phone behind a button. */
function Navigation() {
  const [open, setOpen] = useState(false);
  return (
    <>
      <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Pages" aria-expanded={open} className={classes["burger"] ?? ""} onClick={() => setOpen(!open)}>
        <Icon name={open ? "close" : "menu"} />
      </ActionIcon>
      <nav className={classes["nav"]} aria-label="Pages" data-open={open || undefined} onClick={() => setOpen(false)}>
        {PAGES.map((page) => (
          <Link key={page.to} to={page.to} activeOptions={{ exact: page.exact, includeSearch: false }}>{page.name}</Link>
        ))}
      </nav>
    </>
  );
}

/** Says the title of a page that was gone to: without a new document nobody else does. */
function Announcer() {
  const { pathname } = useLocation();
  const [told, setTold] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setTold(document.title), 300);
    return () => clearTimeout(timer);
  }, [pathname]);
  return <p className="unseen" role="status">{told}</p>;
}
