import { TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";

import { useKeys } from "../app/keys";
import { Icon } from "./Icon";
import classes from "./SearchBox.module.css";

const TYPING_MS = 350;

interface Props {
  /** The text that is searched now. */
  text: string;
  apply: (text: string) => void;
  placeholder: string;
}

/** A text to search for, applied when typing pauses; `/` leads to it. */
export function SearchBox({ text, apply, placeholder }: Props) {
  const box = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(text);
  const [known, setKnown] = useState(text);
  // Another address brings another text.
  if (known !== text) {
    setKnown(text);
    setTyped(text);
  }
  const latest = useRef(apply);
  useEffect(() => {
    latest.current = apply;
  });
  useEffect(() => {
    if (typed.trim() === text) return undefined;
    const timer = setTimeout(() => { latest.current(typed.trim()); }, TYPING_MS);
    return () => { clearTimeout(timer); };
  }, [typed, text]);
  useKeys({ "/": () => box.current?.select() });
  return (
    <form className={classes["search"]} onSubmit={(event) => { event.preventDefault(); apply(typed.trim()); }}>
      <TextInput ref={box} type="search" aria-label="Search" placeholder={placeholder} value={typed} maxLength={200} leftSection={<Icon name="search" />}
        rightSection={<kbd className={classes["hint"]} aria-hidden="true">/</kbd>} onChange={(event) => { setTyped(event.currentTarget.value); }}
        onKeyDown={(event) => { if (event.key === "Escape") event.currentTarget.blur(); }} />
    </form>
  );
}
