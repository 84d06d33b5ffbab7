import type { ReactNode } from "react";

import classes from "./Facts.module.css";

/** A name and what is known of it; `null` and `undefined` are left out. */
export type Fact = readonly [name: string, value: ReactNode];

/** A few facts beside each other. */
export function Facts({ of, label }: { of: readonly Fact[]; label?: string }) {
  return (
    <dl className={classes["facts"]} aria-label={label}>
      {of.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
