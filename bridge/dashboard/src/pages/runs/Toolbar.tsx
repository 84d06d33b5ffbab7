import { Button, NativeSelect, SegmentedControl, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";

import { useKeys } from "../../app/keys";
import { Icon } from "../../parts/Icon";
import { AddFilter } from "./AddFilter";
import classes from "./RunsPage.module.css";
import { filtersOf, SPANS, STATE_GROUPS, stateGroup, type RunsSearch } from "./search";

const TYPING_MS = 350;
const SORTS = [
  { value: "", label: "Newest first" },
  { value: "created", label: "Oldest first" },
  { value: "-finished", label: "Last finished" },
];

interface Props {
  search: RunsSearch;
  change: (next: RunsSearch) => void;
}

/** The filters that are always there. Each change begins the list anew and stands in the address. */
export function Toolbar({ search, change }: Props) {
  const set = (name: "since" | "sort", value: string) => change(withOne(filtersOf(search), name, value));
  const group = stateGroup(search.state);
  const groups: { value: string; label: string }[] = STATE_GROUPS.map(({ value, label }) => ({ value, label }));
  if (group === "custom") groups.push({ value: "custom", label: "Some" });
  const sorts = SORTS.some((one) => one.value === (search.sort ?? "")) ? SORTS : [...SORTS, { value: search.sort ?? "", label: search.sort ?? "" }];
  return (
    <div className={classes["toolbar"]} role="search" aria-label="Filters">
      <SearchBox search={search} change={change} />
      <SegmentedControl data-scrolls className={classes["states"] ?? ""} aria-label="State" value={group} data={groups} size="sm"
        onChange={(value) => change(withStates(filtersOf(search), value))} />
      <NativeSelect aria-label="Time" value={search.since ?? ""} onChange={(event) => set("since", event.currentTarget.value)}
        data={[{ value: "", label: "Any time" }, ...Object.entries(SPANS).map(([value, label]) => ({ value, label }))]} />
      <NativeSelect aria-label="Order" value={search.sort ?? ""} onChange={(event) => set("sort", event.currentTarget.value)} data={sorts} />
      <AddFilter search={search} change={change} />
    </div>
  );
}

function withOne(search: RunsSearch, name: "since" | "sort" | "text", value: string): RunsSearch {
  const { [name]: _, ...rest } = search;
  return value ? { ...rest, [name]: value } : rest;
}

function withStates(search: RunsSearch, group: string): RunsSearch {
  const { state: _, ...rest } = search;
  const states = STATE_GROUPS.find((one) => one.value === group)?.states ?? [];
  return states.length > 0 ? { ...rest, state: [...states] } : rest;
}

function SearchBox({ search, change }: Props) {
  const box = useRef<HTMLInputElement>(null);
  const [typed, setTyped] = useState(search.text ?? "");
  const [known, setKnown] = useState(search.text);
  // Another address, such as that of a saved view, brings another text.
  if (known !== search.text) {
    setKnown(search.text);
    setTyped(search.text ?? "");
  }
  const apply = (text: string) => {
    if (text.trim() !== (search.text ?? "")) change(withOne(filtersOf(search), "text", text.trim()));
  };
  const latest = useRef(apply);
  useEffect(() => {
    latest.current = apply;
  });
  useEffect(() => {
    const timer = setTimeout(() => latest.current(typed), TYPING_MS);
    return () => clearTimeout(timer);
  }, [typed]);
  useKeys({ "/": () => box.current?.select() });
  return (
    <form className={classes["search"]} onSubmit={(event) => (event.preventDefault(), apply(typed))}>
      <TextInput ref={box} type="search" aria-label="Search" placeholder="Search names, DAGs, labels, errors" value={typed} maxLength={200}
        leftSection={<Icon name="search" />} rightSection={<kbd className={classes["hint"]} aria-hidden="true">/</kbd>}
        onChange={(event) => setTyped(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()} />
      <Button type="submit" className="unseen" tabIndex={-1}>Search</Button>
    </form>
  );
}
