import { useQuery } from "@tanstack/react-query";

import { statusQuery } from "../api/queries";
import { Notice } from "./feedback";
import { When } from "./time";

/** Says which backends do not answer: what is shown of their runs may be old. `only` names the one that matters. */
export function StaleBackends({ only }: { only?: string }) {
  const { data } = useQuery(statusQuery());
  const stale = (data?.backends ?? []).filter((one) => one.stale_since !== null && (!only || one.name === only));
  return stale.map((one) => (
    <Notice key={one.name}>
      <strong>Backend {one.name} {one.trouble ?? "does not answer"}</strong>, {one.stale_since && <When at={one.stale_since} />}. What is shown of
      its runs may be old.{one.last_error && <span className="muted small"> {one.last_error}</span>}
    </Notice>
  ));
}
