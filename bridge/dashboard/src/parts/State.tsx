import { stateWord } from "../words/text";
import { Icon, isIcon } from "./Icon";
import classes from "./State.module.css";

export type Tone = "good" | "bad" | "run" | "wait" | "still";

const TONES: Record<string, Tone> = {
  SUCCEEDED: "good", FAILED: "bad", RUNNING: "run", PENDING: "wait", CANCELING: "wait", PAUSED: "wait",
};

/** The colour family of a state; its icon and word tell it to those who see no colours. */
export function toneOf(state: string): Tone {
  return TONES[state] ?? "still";
}

/** A state as icon and word. */
export function State({ name, large = false }: { name: string; large?: boolean }) {
  return (
    <span className={classes["state"]} data-tone={toneOf(name)} data-state={name} data-large={large || undefined}>
      <Icon name={isIcon(name) ? name : "unknown"} size={large ? 16 : 13} />
      {stateWord(name)}
    </span>
  );
}

/** A small note beside something, such as "cached". */
export function Tag({ children, tone = "still", title }: { children: React.ReactNode; tone?: Tone; title?: string }) {
  return <span className={classes["tag"]} data-tone={tone} title={title}>{children}</span>;
}
