import { plain, shown } from "../words/text";
import classes from "./Pairs.module.css";

/** Names and values, by name. `none` is said where there are none. */
export function Pairs({ values, title, none }: { values: Readonly<Record<string, unknown>>; title?: string; none?: string }) {
  const names = Object.keys(values).sort();
  if (names.length === 0) return none ? <p className="muted">{none}</p> : null;
  return (
    <section className={classes["section"]}>
      {title && <h3>{title}</h3>}
      <dl className={`panel ${classes["pairs"] ?? ""}`}>
        {names.map((name) => (
          <div key={name}>
            <dt><bdi>{plain(name)}</bdi></dt>
            <dd className="mono"><bdi>{shown(values[name])}</bdi></dd>
          </div>
        ))}
      </dl>
    </section>
  );
}
