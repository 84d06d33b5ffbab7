import { Link, type ErrorComponentProps } from "@tanstack/react-router";

import { Empty, Trouble } from "../parts/feedback";

/** A page that broke, or whose code could not be loaded. */
export function RouteTrouble({ error, reset }: ErrorComponentProps) {
  return <Trouble error={error} retry={reset} what="This page" page />;
}

export function NoSuchPage() {
  return (
    <Empty title="There is no such page" page>
      <p>The address may be cut off.</p>
      <Link to="/">Show all runs</Link>
    </Empty>
  );
}
