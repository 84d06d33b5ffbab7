import { TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";

import { isMonth } from "./search";

const TYPING_MS = 500;

/** A month, applied when typing pauses. Where the browser has no field for months it is typed as it stands in the address. */
export function MonthField({ label, value, apply }: { label: string; value: string; apply: (month: string) => void }) {
  const [typed, setTyped] = useState(value);
  const [known, setKnown] = useState(value);
  // Another address brings another month.
  if (known !== value) {
    setKnown(value);
    setTyped(value);
  }
  const latest = useRef(apply);
  useEffect(() => {
    latest.current = apply;
  });
  useEffect(() => {
    if (typed === value || !isMonth(typed)) return undefined;
    const timer = setTimeout(() => { latest.current(typed); }, TYPING_MS);
    return () => { clearTimeout(timer); };
  }, [typed, value]);
  return <TextInput type="month" aria-label={label} placeholder="2026-08" value={typed} onChange={(event) => { setTyped(event.currentTarget.value); }} />;
}
