import { Button, NativeSelect, Popover, TextInput } from "@mantine/core";
import { useState } from "react";

import { Icon } from "../../parts/Icon";
import classes from "./RunsPage.module.css";
import { filtersOf, type RunsSearch } from "./search";

export const FIELDS = [
  { name: "pipeline", label: "Pipeline", example: "flight-delay", many: false },
  { name: "dag_id", label: "DAG", example: "delay_model_retraining", many: false },
  { name: "dag_run_id", label: "DAG run", example: "scheduled__2026-08-01T02:00:00+00:00", many: false },
  { name: "task_id", label: "Airflow task", example: "train", many: false },
  { name: "metric", label: "Metric", example: "evaluate.auc>=0.7", many: true },
  { name: "label", label: "Label", example: "team:risk", many: true },
  { name: "project", label: "Project", example: "default", many: true },
  { name: "backend", label: "Backend", example: "default", many: false },
  { name: "experiment", label: "Experiment", example: "nightly", many: false },
  { name: "team", label: "Team", example: "risk", many: false },
  { name: "user", label: "User", example: "anna", many: false },
  { name: "scheduler", label: "Scheduler", example: "airflow", many: false },
  { name: "good", label: "Good run", example: "true", many: false },
] as const;

type FieldName = (typeof FIELDS)[number]["name"];

/** A form for the filters that have no field of their own; what it adds becomes a chip. */
export function AddFilter({ search, change }: { search: RunsSearch; change: (next: RunsSearch) => void }) {
  const [opened, setOpened] = useState(false);
  const [name, setName] = useState<FieldName>("pipeline");
  const [value, setValue] = useState("");
  const field = FIELDS.find((one) => one.name === name) ?? FIELDS[0];
  const add = () => {
    const text = value.trim();
    if (!text) return;
    change(withFilter(filtersOf(search), name, text));
    setValue("");
    setOpened(false);
  };
  return (
    <Popover opened={opened} onChange={setOpened} position="bottom-end" trapFocus shadow="md" width={320}>
      <Popover.Target>
        <Button variant="default" leftSection={<Icon name="plus" size={14} />} onClick={() => setOpened(!opened)}>Filter</Button>
      </Popover.Target>
      <Popover.Dropdown>
        <form className={classes["add"]} onSubmit={(event) => (event.preventDefault(), add())}>
          <NativeSelect label="Field" value={name} onChange={(event) => setName(event.currentTarget.value as FieldName)}
            data={FIELDS.map((one) => ({ value: one.name, label: one.label }))} />
          <TextInput label="Value" placeholder={field.example} value={value} onChange={(event) => setValue(event.currentTarget.value)} />
          <Button type="submit" disabled={!value.trim()}>Add</Button>
        </form>
      </Popover.Dropdown>
    </Popover>
  );
}

function withFilter(search: RunsSearch, name: FieldName, value: string): RunsSearch {
  if (name === "metric" || name === "label" || name === "project") {
    return { ...search, [name]: [...new Set([...(search[name] ?? []), value.replaceAll(/\s*(>=|<=|==|>|<)\s*/g, "$1")])] };
  }
  return { ...search, [name]: value };
}
