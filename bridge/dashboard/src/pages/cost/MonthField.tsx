import { TextInput } from "@mantine/core";

import { useTyping } from "../../parts/useTyping";
import { isMonth } from "./search";

const TYPING_MS = 500;
const wholeMonth = (typed: string) => (isMonth(typed) ? typed : null);

/** A month, applied when typing pauses. Where the browser has no field for months it is typed as it stands in the address. */
export function MonthField({ label, value, apply }: { label: string; value: string; apply: (month: string) => void }) {
  const [typed, setTyped] = useTyping(value, apply, TYPING_MS, wholeMonth);
  return <TextInput type="month" aria-label={label} placeholder="2026-08" value={typed} onChange={(event) => { setTyped(event.currentTarget.value); }} />;
}
