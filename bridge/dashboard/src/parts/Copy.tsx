import { ActionIcon, CopyButton } from "@mantine/core";

import classes from "./Copy.module.css";
import { Icon } from "./Icon";

/** A button that copies a value; `what` says of what, for who hears the page. */
export function Copy({ value, what }: { value: string; what: string }) {
  return (
    <CopyButton value={value} timeout={1500}>
      {({ copied, copy }) => (
        <ActionIcon variant="subtle" color="gray" size="sm" aria-label={copied ? "Copied" : `Copy ${what}`} title={`Copy ${what}`} onClick={copy} className={classes["button"] ?? ""}>
          <Icon name={copied ? "SUCCEEDED" : "copy"} size={14} />
        </ActionIcon>
      )}
    </CopyButton>
  );
}

/** A command to be copied and run elsewhere. */
export function Command({ text, label }: { text: string; label: string }) {
  return (
    <div className={classes["command"]}>
      <code tabIndex={0} role="group" aria-label={label}>{text}</code>
      <Copy value={text} what={label} />
    </div>
  );
}
