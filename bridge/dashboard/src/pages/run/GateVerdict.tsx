import { Link } from "@tanstack/react-router";

import type { Gate } from "../../api/messages";
import { Tag } from "../../parts/State";
import { number } from "../../words/number";
import { plain } from "../../words/text";
import classes from "./GateVerdict.module.css";

/** What the run's metrics had to be, and whether they are. */
export function GateVerdict({ gate }: { gate: Gate }) {
  const tone = gate.passed ? "good" : gate.passed === false ? "bad" : "wait";
  return (
    <section className={`panel ${classes["gate"] ?? ""}`} aria-label="Gate" data-tone={tone}>
      <Tag tone={tone}>{gate.passed ? "gate passed" : gate.passed === false ? "gate not passed" : "gate not judged"}</Tag>
      <code>{gate.expression}</code>
      <span className={`tabular ${classes["numbers"] ?? ""}`}>
        {Object.entries(gate.numbers).map(([name, value]) => (
          <span key={name}><span className="muted">{name}</span> {value === null ? "not known" : number(value)}</span>
        ))}
      </span>
      <span className="muted">
        {plain(gate.reason)}
        {gate.last_good_run && <> · against <Link to="/runs/$runId" params={{ runId: gate.last_good_run }}>the last good run</Link></>}
      </span>
    </section>
  );
}
