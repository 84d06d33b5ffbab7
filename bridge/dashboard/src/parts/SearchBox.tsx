import { TextInput } from "@mantine/core";
import { useRef } from "react";

import { useKeys } from "../app/keys";
import { Icon } from "./Icon";
import classes from "./SearchBox.module.css";
import { useTyping } from "./useTyping";

const TYPING_MS = 350;
const trimmed = (typed: string) => typed.trim();

interface Props {
  /** The text that is searched now. */
  text: string;
  apply: (text: string) => void;
  placeholder: string;
}

/** A text to search for, applied when typing pauses; `/` leads to it. */
export function SearchBox({ text, apply, placeholder }: Props) {
  const box = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useTyping(text, apply, TYPING_MS, trimmed);
  useKeys({ "/": () => box.current?.select() });
  return (
    <form className={classes["search"]} onSubmit={(event) => { event.preventDefault(); apply(typed.trim()); }}>
      <TextInput ref={box} type="search" aria-label="Search" placeholder={placeholder} value={typed} maxLength={200} leftSection={<Icon name="search" />}
        rightSection={<kbd className={classes["hint"]} aria-hidden="true">/</kbd>} onChange={(event) => { setTyped(event.currentTarget.value); }}
        onKeyDown={(event) => { if (event.key === "Escape") event.currentTarget.blur(); }} />
    </form>
  );
}
