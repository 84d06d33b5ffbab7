import { Kbd } from "@mantine/core";

import { Dialog } from "../parts/Dialog";
import classes from "./KeysHelp.module.css";

const KEYS = [
  ["/", "Search"],
  ["j", "Next run"],
  ["k", "Previous run"],
  ["Enter", "Open the run"],
  ["x", "Choose the run for a comparison"],
  ["?", "These keys"],
] as const;

export default function KeysHelp({ close }: { close: () => void }) {
  return (
    <Dialog title="Keys" close={close}>
      <dl className={classes["keys"]}>
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt><Kbd>{key}</Kbd></dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
