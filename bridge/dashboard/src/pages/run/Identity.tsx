import type { ReactNode } from "react";

import type { Run } from "../../api/messages";
import { Copy } from "../../parts/Copy";
import { Icon } from "../../parts/Icon";
import { Tag } from "../../parts/State";
import { plain } from "../../words/text";
import classes from "./Identity.module.css";

interface Link {
  what: string;
  name: ReactNode;
  under?: ReactNode;
  href?: string | null;
  place?: string;
  copy?: string;
}

/** Who this run is on each side: scheduler, DagRun, TaskInstance, KFP run, backend; with the way to both UIs. */
export function Identity({ run }: { run: Run }) {
  return (
    <ol className={`panel ${classes["strip"] ?? ""}`} aria-label="Identity">
      {linksOf(run).map((link) => (
        <li key={link.what} data-empty={link.name === null || undefined}>
          <span className={classes["what"]}>{link.what}</span>
          <span className={classes["name"]}>
            {link.href ? (
              <a href={link.href} rel="noreferrer" title={`In ${link.place ?? ""}`}>{link.name} <Icon name="external" size={12} /></a>
            ) : (
              (link.name ?? <span className="muted">none</span>)
            )}
            {link.copy && <Copy value={link.copy} what={link.what} />}
          </span>
          {link.under && <span className={classes["under"]}>{link.under}</span>}
        </li>
      ))}
    </ol>
  );
}

function linksOf(run: Run): Link[] {
  const { origin } = run;
  const text = (value: string | null) => (value ? <bdi>{plain(value)}</bdi> : null);
  const dagUrl = run.links.scheduler?.includes("/tasks/") ? run.links.scheduler.split("/tasks/")[0] : undefined;
  const instance = origin.task_id && `${origin.task_id}${origin.map_index >= 0 ? `[${origin.map_index}]` : ""}`;
  const known = run.submission_key ? "a direct submission" : "not known";
  return [
    {
      what: "Scheduler",
      name: text(origin.scheduler) ?? text(origin.user) ?? <span className="muted">{known}</span>,
      under: text([origin.deployment, origin.team, origin.scheduler ? origin.user : null].filter(Boolean).join(" · ")),
    },
    {
      what: "DagRun",
      name: text(origin.dag_id),
      under: origin.dag_run_id && <><bdi title={plain(origin.dag_run_id)}>{plain(origin.dag_run_id)}</bdi></>,
      href: dagUrl ?? null,
      place: "Airflow",
    },
    {
      what: "TaskInstance",
      name: text(instance),
      under: instance ? `try ${origin.try_number}` : null,
      href: instance ? run.links.scheduler : null,
      place: "Airflow",
    },
    {
      what: "KFP run",
      name: <span className="mono">{run.kfp_run_id.slice(0, 13)}…</span>,
      under: <span className={classes["pipeline"]}><bdi>{plain(run.pipeline.name)}</bdi> <Tag title={`sha256 ${run.pipeline.digest}`}>{run.pipeline.alias ?? run.pipeline.version_name ?? run.pipeline.digest.slice(0, 8)}</Tag></span>,
      href: run.links.kfp,
      place: "the KFP UI",
      copy: run.kfp_run_id,
    },
    {
      what: "Backend",
      name: text(run.backend),
      under: text([run.namespace, run.experiment, run.project].filter(Boolean).join(" · ")),
    },
  ];
}
