import { Kbd, Modal } from "@mantine/core";

import classes from "./KeysHelp.module.css";

const KEYS = [
  ["/", "Search"],
  ["j", "Next run"],
  ["k", "Previous run"],
  ["Enter", "Open the run"],
  ["x", "Choose the run for a comparison"],
  ["?", "These keys"],
] as const;

export function KeysHelp({ opened, close }: { opened: boolean; close: () => void }) {
  return (
    <Modal opened={opened} onClose={close} title="Keys" size="sm" closeButtonProps={{ "aria-label": "Close" }}>
      <dl className={classes["keys"]}>
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt><Kbd>{key}</Kbd></dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Modal>
  );
}
