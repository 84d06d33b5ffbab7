/** What a page shows when there is nothing to show: empty, in trouble, or not there yet. */
import { Button, Skeleton } from "@mantine/core";
import type { ReactNode } from "react";

import { ApiError } from "../api/http";
import { sentence } from "../words/text";
import classes from "./feedback.module.css";
import { Icon } from "./Icon";

/** Says that nothing is there, and what to do about it. */
export function Empty({ title, children, page = false }: { title: string; children?: ReactNode; page?: boolean }) {
  const Title = page ? "h1" : "h2";
  return (
    <section className={`panel ${classes["empty"] ?? ""}`}>
      <Title>{title}</Title>
      {children}
    </section>
  );
}

/** Says what went wrong. `retry` asks again; `page`: nothing else is on the page. */
export function Trouble({ error, retry, what, page = false }: { error: unknown; retry?: () => void; what?: string; page?: boolean }) {
  const Title = page ? "h1" : "h2";
  const problem = error instanceof ApiError ? error.problem : null;
  const detail = problem?.detail ?? (error instanceof Error ? error.message : String(error));
  return (
    <section className={`panel ${classes["empty"] ?? ""}`} role="alert">
      {problem && problem.status > 0 && <p className="mono muted">{problem.status}</p>}
      <Title>{problem?.status === 404 ? "Not found" : what ? `${what} cannot be shown` : (problem?.title ?? "Something went wrong")}</Title>
      <p>{sentence(detail)}.</p>
      {retry && problem?.status !== 404 && (
        <Button variant="default" size="compact-md" onClick={retry} leftSection={<Icon name="retry" />}>Try again</Button>
      )}
    </section>
  );
}

/** A line above old content: it could not be asked for anew, or its source does not answer. */
export function Notice({ tone = "wait", children }: { tone?: "wait" | "bad" | "run"; children: ReactNode }) {
  return (
    <div className={classes["notice"]} data-tone={tone} role="status">
      <Icon name="warning" />
      <div>{children}</div>
    </div>
  );
}

/** Grey lines where a list will be. */
export function Lines({ number = 6, height = 44 }: { number?: number; height?: number }) {
  return (
    <div aria-busy="true" aria-label="Loading" role="status" className={classes["lines"]}>
      {Array.from({ length: number }, (_, index) => <Skeleton key={index} height={height} radius="md" />)}
    </div>
  );
}
