import { CloseButton } from "@mantine/core";
import { Link } from "@tanstack/react-router";

import { plain, stateWord } from "../../words/text";
import { FIELDS } from "./AddFilter";
import classes from "./RunsPage.module.css";
import { filtersOf, MANY, ONE, stateGroup, type ManyName, type RunsSearch } from "./search";

const LABELS: Readonly<Record<string, string>> = Object.fromEntries(FIELDS.map((one) => [one.name, one.label]));
const OWN_FIELD = new Set<string>(["text", "since", "sort"]);

interface Chip {
  name: string;
  value: string;
  without: RunsSearch;
}

/** The filters without a field of their own, each of which can be taken away. */
export function Chips({ search, change }: { search: RunsSearch; change: (next: RunsSearch) => void }) {
  const chips = chipsOf(filtersOf(search));
  if (chips.length === 0) return null;
  return (
    <ul className={classes["chips"]} aria-label="Filters that are set">
      {chips.map((chip) => (
        <li key={`${chip.name} ${chip.value}`}>
          <span className="muted">{LABELS[chip.name] ?? chip.name.replaceAll("_", " ")}</span> <bdi>{plain(chip.name === "state" ? stateWord(chip.value) : chip.value)}</bdi>
          <CloseButton size="xs" aria-label={`Without ${LABELS[chip.name]?.toLowerCase() ?? chip.name} ${chip.value}`} onClick={() => change(chip.without)} />
        </li>
      ))}
      <li className={classes["clear"]}><Link to="/">Clear all</Link></li>
    </ul>
  );
}

function chipsOf(search: RunsSearch): Chip[] {
  const chips: Chip[] = [];
  for (const name of MANY) {
    if (name === "state" && stateGroup(search.state) !== "custom") continue;
    for (const value of search[name] ?? []) chips.push({ name, value, without: withoutValue(search, name, value) });
  }
  for (const name of ONE) {
    const value = search[name];
    if (value === undefined || OWN_FIELD.has(name)) continue;
    const { [name]: _, ...without } = search;
    chips.push({ name, value, without });
  }
  return chips;
}

function withoutValue(search: RunsSearch, name: ManyName, value: string): RunsSearch {
  const { [name]: values = [], ...rest } = search;
  const left = values.filter((one) => one !== value);
  return left.length > 0 ? { ...rest, [name]: left } : rest;
}
