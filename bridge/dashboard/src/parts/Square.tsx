import { stateWord } from "../words/text";
import { Icon, isIcon } from "./Icon";
import classes from "./Square.module.css";
import { toneOf } from "./State";

/** A state in the room of a letter: an icon on its colour, its word for who hears the page. */
export function Square({ state, title, cached = false }: { state: string; title?: string; cached?: boolean }) {
  return (
    <span className={classes["square"]} data-tone={toneOf(state)} data-cached={cached || undefined} title={title ?? stateWord(state)}>
      <Icon name={isIcon(state) ? state : "unknown"} size={12} />
      <span className="unseen">{stateWord(state)}{cached ? ", cached" : ""}</span>
    </span>
  );
}

/** Where there is none. */
export function NoSquare() {
  return <span className={classes["none"]}><span className="unseen">none</span></span>;
}
