import type { ReactNode } from "react";

import classes from "./PageTitle.module.css";

interface Props {
  title: ReactNode;
  /** The way to where this page is one of several. */
  crumbs?: ReactNode;
  /** What stands on the right, such as links. */
  children?: ReactNode;
}

/** The heading of a page. */
export function PageTitle({ title, crumbs, children }: Props) {
  return (
    <div className={classes["page"]}>
      {crumbs && <nav className={classes["crumbs"]} aria-label="Place">{crumbs}</nav>}
      <div className={classes["title"]}>
        <h1>{title}</h1>
        {children}
      </div>
    </div>
  );
}
