/** The routes. Each page is a chunk of its own; what a route's address holds is read in one place beside its page. */
import { noop, type QueryClient } from "@tanstack/react-query";
import { createRootRouteWithContext, createRoute, createRouter, lazyRouteComponent } from "@tanstack/react-router";

import { BASE } from "./api/http";
import { runsQuery } from "./api/queries";
import { NoSuchPage, RouteTrouble } from "./app/RouteTrouble";
import { Shell } from "./app/Shell";
import { Lines } from "./parts/feedback";
import { readArtifactsSearch } from "./pages/artifacts/search";
import { readCompareSearch } from "./pages/compare/search";
import { readCostSearch } from "./pages/cost/search";
import { readLineageSearch } from "./pages/lineage/search";
import { readPipelineSearch } from "./pages/pipeline/search";
import { readPipelinesSearch } from "./pages/pipelines/search";
import { readOnCallSearch } from "./pages/oncall/search";
import { readRunSearch } from "./pages/run/search";
import { readRunsSearch, toQuery } from "./pages/runs/search";
import { parseSearch, stringifySearch } from "./words/search";

const root = createRootRouteWithContext<{ queries: QueryClient }>()({ component: Shell, notFoundComponent: NoSuchPage });

const runs = createRoute({
  getParentRoute: () => root,
  path: "/",
  validateSearch: readRunsSearch,
  loaderDeps: ({ search }) => search,
  // Asked while the page's chunk is on its way; see FIRST_QUESTION in bridge/service/dashboard.py.
  loader: ({ context, deps, cause }) => {
    if (cause !== "preload") context.queries.query(runsQuery(toQuery(deps))).catch(noop);
  },
  component: lazyRouteComponent(() => import("./pages/runs/RunsPage"), "RunsPage"),
});

const run = createRoute({
  getParentRoute: () => root,
  path: "/runs/$runId",
  validateSearch: readRunSearch,
  component: lazyRouteComponent(() => import("./pages/run/RunPage"), "RunPage"),
});

const onCall = createRoute({
  getParentRoute: () => root,
  path: "/oncall",
  validateSearch: readOnCallSearch,
  component: lazyRouteComponent(() => import("./pages/oncall/OnCallPage"), "OnCallPage"),
});

const status = createRoute({
  getParentRoute: () => root,
  path: "/backends",
  component: lazyRouteComponent(() => import("./pages/status/StatusPage"), "StatusPage"),
});

const cost = createRoute({
  getParentRoute: () => root,
  path: "/cost",
  validateSearch: readCostSearch,
  component: lazyRouteComponent(() => import("./pages/cost/CostPage"), "CostPage"),
});

const artifacts = createRoute({
  getParentRoute: () => root,
  path: "/artifacts",
  validateSearch: readArtifactsSearch,
  component: lazyRouteComponent(() => import("./pages/artifacts/ArtifactsPage"), "ArtifactsPage"),
});

const artifact = createRoute({
  getParentRoute: () => root,
  path: "/artifacts/$artifactId",
  component: lazyRouteComponent(() => import("./pages/artifacts/ArtifactPage"), "ArtifactPage"),
});

const pipelines = createRoute({
  getParentRoute: () => root,
  path: "/pipelines",
  validateSearch: readPipelinesSearch,
  component: lazyRouteComponent(() => import("./pages/pipelines/PipelinesPage"), "PipelinesPage"),
});

const pipeline = createRoute({
  getParentRoute: () => root,
  path: "/pipelines/$name",
  validateSearch: readPipelineSearch,
  component: lazyRouteComponent(() => import("./pages/pipeline/PipelinePage"), "PipelinePage"),
});

const compare = createRoute({
  getParentRoute: () => root,
  path: "/compare",
  validateSearch: readCompareSearch,
  component: lazyRouteComponent(() => import("./pages/compare/ComparePage"), "ComparePage"),
});

const lineage = createRoute({
  getParentRoute: () => root,
  path: "/lineage",
  validateSearch: readLineageSearch,
  component: lazyRouteComponent(() => import("./pages/lineage/LineagePage"), "LineagePage"),
});

const tree = root.addChildren([
  runs, run, pipelines, pipeline, compare, lineage, artifacts, artifact, onCall, cost, status,
]);

export function makeRouter(queries: QueryClient) {
  return createRouter({
    routeTree: tree,
    basepath: BASE || "/",
    context: { queries },
    parseSearch,
    stringifySearch,
    defaultPreload: "intent",
    defaultErrorComponent: RouteTrouble,
    defaultPendingComponent: Lines,
    scrollRestoration: true,
  });
}

declare module "@tanstack/react-router" {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
