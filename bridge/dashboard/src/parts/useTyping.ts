import { useEffect, useRef, useState } from "react";

/**
 * What is typed into a field, and how it is changed: applied when typing pauses for so many milliseconds, unless it is
 * what the address holds already. `ready` makes of it what is applied, or null while there is nothing to apply.
 */
export function useTyping(
  value: string, apply: (value: string) => void, pauseMs: number, ready: (typed: string) => string | null,
): [string, (typed: string) => void] {
  const [typed, setTyped] = useState(value);
  const [known, setKnown] = useState(value);
  // Another address brings another value.
  if (known !== value) {
    setKnown(value);
    setTyped(value);
  }
  const latest = useRef(apply);
  useEffect(() => {
    latest.current = apply;
  });
  const next = ready(typed);
  useEffect(() => {
    if (next === null || next === value) return undefined;
    const timer = setTimeout(() => { latest.current(next); }, pauseMs);
    return () => { clearTimeout(timer); };
    // Every key begins the pause anew, also one that leaves what would be applied as it is.
  }, [typed, next, value, pauseMs]);
  return [typed, setTyped];
}
