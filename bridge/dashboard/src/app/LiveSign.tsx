import { UnstyledButton } from "@mantine/core";

import { setPaused, useLiveState, type LiveState } from "../api/live";
import classes from "./LiveSign.module.css";

const WORDS: Record<LiveState, [word: string, told: string]> = {
  connecting: ["Connecting", "The page asks for the bridge's event stream"],
  live: ["Live", "Changes are shown as they happen; press to pause"],
  polling: ["Polling", "The event stream is away; the page asks every few seconds"],
  ended: ["Ended", "The session has ended; the page goes on when you have signed in again"],
  paused: ["Paused", "The page stands still; press to go on"],
};

/** How the page is kept up to date; a press pauses it and lets it go on. */
export function LiveSign() {
  const state = useLiveState();
  const [word, told] = WORDS[state];
  return (
    <UnstyledButton title={told} className={classes["sign"] ?? ""} data-live={state} onClick={() => setPaused(state !== "paused")}
      aria-label={`${word}: ${state === "paused" ? "resume updates" : "pause updates"}`}>
      <span className={classes["dot"]} aria-hidden="true" />
      {word}
    </UnstyledButton>
  );
}
