import { Kbd } from "@mantine/core";

import { Dialog } from "../parts/Dialog";
import classes from "./KeysHelp.module.css";

const KEYS = [
  { where: "Lists", keys: [["/", "Search"], ["j", "Next run or artifact"], ["k", "The one before"], ["Enter", "Open it"], ["x", "Choose the run for a comparison"]] },
  { where: "Lineage, from a node", keys: [["← ↑ → ↓", "To the next node that way"], ["Enter", "Show the node"], ["+", "Go on from the node"]] },
  { where: "Everywhere", keys: [["?", "These keys"]] },
] as const;

export default function KeysHelp({ close }: { close: () => void }) {
  return (
    <Dialog title="Keys" close={close}>
      {KEYS.map(({ where, keys }) => (
        <section key={where}>
          <h3 className={classes["where"]}>{where}</h3>
          <dl className={classes["keys"]}>
            {keys.map(([key, does]) => (
              <div key={key}>
                <dt>{key.split(" ").map((one) => <Kbd key={one}>{one}</Kbd>)}</dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}
