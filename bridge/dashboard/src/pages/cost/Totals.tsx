import type { Usage } from "../../api/messages";
import { Facts } from "../../parts/Facts";
import { hours, money, UNKNOWN_HOURS } from "../../words/cost";
import { plain } from "../../words/text";
import classes from "./CostPage.module.css";

/** The hours of a whole and what they cost; what has no price is said. */
export function Totals({ usage, currency, label }: { usage: Usage; currency: string; label: string }) {
  const accelerators = Object.entries(usage.accelerator_hours);
  return (
    <div className={`panel ${classes["totals"] ?? ""}`}>
      <Facts label={label} of={[
        ["Cost", usage.cost === null ? <span className="muted">no price</span> : <strong>{money(usage.cost, currency)}</strong>],
        ["CPU", `${hours(usage.cpu_hours)} core h`],
        ["Memory", `${hours(usage.memory_gib_hours)} GiB h`],
        ["GPU", <span key="gpu">{hours(usage.gpu_hours)} h{accelerators.length > 0 && <span className={`muted small ${classes["under"] ?? ""}`}>{accelerators.map(([name, value]) => `${plain(name)} ${hours(value)}`).join(", ")}</span>}</span>],
        ["Unknown", `${hours(usage.unknown_hours)} h`],
        ["Runs took", `${hours(usage.run_hours)} h`],
      ]} />
      {usage.unpriced.length > 0 && <p className="muted small">No price is set for <bdi>{usage.unpriced.map(plain).join(", ")}</bdi>{usage.cost !== null && "; the cost is without it"}.</p>}
      {usage.unknown_hours > 0 && <p className="muted small">Unknown: {UNKNOWN_HOURS}.</p>}
    </div>
  );
}
