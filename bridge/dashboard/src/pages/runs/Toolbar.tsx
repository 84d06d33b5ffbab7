import { NativeSelect, SegmentedControl } from "@mantine/core";

import { SearchBox } from "../../parts/SearchBox";
import { AddFilter } from "./AddFilter";
import classes from "./RunsPage.module.css";
import { filtersOf, SPANS, STATE_GROUPS, stateGroup, type RunsSearch } from "./search";

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
      <SearchBox text={search.text ?? ""} apply={(text) => change(withOne(filtersOf(search), "text", text))}
        placeholder="Search names, DAGs, labels, errors" />
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
