import { useId, type ReactNode } from "react";

import { plain } from "../../words/text";
import classes from "./LogTail.module.css";

/** The end of a log: the box shows its last line before anybody scrolls. */
export function LogTail({ lines, title, children, tall = false }: { lines: readonly string[]; title: string; children?: ReactNode; tall?: boolean }) {
  const id = useId();
  return (
    <div className={classes["box"]}>
      <div className={classes["bar"]}>
        <h3 id={id}>{title}</h3>
        {children}
      </div>
      <div className={classes["tail"]} data-tall={tall || undefined} tabIndex={0} role="group" aria-labelledby={id} data-testid="log">
        <pre>{plain(lines.join("\n"))}</pre>
      </div>
    </div>
  );
}
