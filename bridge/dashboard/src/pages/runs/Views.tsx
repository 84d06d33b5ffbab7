import { Button, CloseButton, Menu, TextInput } from "@mantine/core";
import { useState } from "react";

import { Dialog } from "../../parts/Dialog";
import { Icon } from "../../parts/Icon";
import classes from "./RunsPage.module.css";
import { hasFilters, type RunsSearch } from "./search";
import { ACTIVE } from "./search";
import { useSavedViews } from "./savedViews";

const GIVEN: readonly { name: string; search: RunsSearch }[] = [
  { name: "All runs", search: {} },
  { name: "Going on", search: { state: ACTIVE } },
  { name: "Failed in the last day", search: { state: ["FAILED"], since: "24h" } },
  { name: "Good runs", search: { good: "true" } },
];

/** Views to open: those that come with the page, and those that were saved in this browser. */
export function Views({ search, open }: { search: RunsSearch; open: (search: RunsSearch) => void }) {
  const { views, save, remove } = useSavedViews();
  const [naming, setNaming] = useState(false);
  const [name, setName] = useState("");
  const keep = () => {
    if (!name.trim()) return;
    save(name.trim(), search);
    setName("");
    setNaming(false);
  };
  return (
    <>
      <Menu position="bottom-end" width={260}>
        <Menu.Target>
          <Button variant="default" leftSection={<Icon name="bookmark" size={14} />} rightSection={<Icon name="down" size={14} />}>Views</Button>
        </Menu.Target>
        <Menu.Dropdown>
          {GIVEN.map((view) => <Menu.Item key={view.name} onClick={() => open(view.search)}>{view.name}</Menu.Item>)}
          {views.length > 0 && <Menu.Label>Saved in this browser</Menu.Label>}
          {views.map((view) => (
            <Menu.Item key={view.name} onClick={() => open(view.search)}>{view.name}</Menu.Item>
          ))}
          <Menu.Divider />
          <Menu.Item leftSection={<Icon name="plus" size={14} />} disabled={!hasFilters(search)} onClick={() => setNaming(true)}>Save this view …</Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {naming && <Dialog title="Save this view" close={() => setNaming(false)}>
        <form className={classes["add"]} onSubmit={(event) => (event.preventDefault(), keep())}>
          <TextInput label="Name" value={name} onChange={(event) => setName(event.currentTarget.value)} data-autofocus maxLength={60} />
          <Button type="submit" disabled={!name.trim()}>Save</Button>
          {views.length > 0 && (
            <ul className={classes["saved"]} aria-label="Saved views">
              {views.map((view) => (
                <li key={view.name}>{view.name} <CloseButton size="sm" aria-label={`Remove ${view.name}`} onClick={() => remove(view.name)} /></li>
              ))}
            </ul>
          )}
        </form>
      </Dialog>}
    </>
  );
}
