/** The API's messages, as the service's OpenAPI document describes them. */
import type { components, operations } from "./schema";

type Schemas = components["schemas"];

/** The service leaves no field of an answer out, which the document cannot say of fields with a default. */
type Whole<T> = T extends (infer U)[] ? Whole<U>[] : T extends object ? { [K in keyof T]-?: Whole<T[K]> } : T;

export type Run = Whole<Schemas["RunModel"]>;
export type Cleared = Whole<Schemas["ClearedModel"]>;
export type Origin = Whole<Schemas["OriginModel"]>;
export type Task = Whole<Schemas["TaskModel"]>;
export type Cause = Whole<Schemas["CauseModel"]>;
export type Evidence = Whole<Schemas["EvidenceModel"]>;
export type Gate = Whole<Schemas["GateModel"]>;
export type PlannedTask = Whole<Schemas["PlannedTaskModel"]>;
export type Artifact = Whole<Schemas["ArtifactModel"]>;
export type ArtifactUse = Whole<Schemas["ArtifactUseModel"]>;
export type Metric = Whole<Schemas["MetricModel"]>;
export type MetricBlob = Whole<Schemas["MetricBlobModel"]>;
export type Metrics = Whole<Schemas["MetricsModel"]>;
export type Explanation = Whole<Schemas["ExplainModel"]>;
export type Reproduction = Whole<Schemas["ReproductionModel"]>;
export type Status = Whole<Schemas["StatusModel"]>;
export type BackendStatus = Whole<Schemas["BackendStatus"]>;
export type QueueStatus = Whole<Schemas["QueueStatus"]>;
export type WatchStatus = Whole<Schemas["WatchStatus"]>;
export type Emission = Whole<Schemas["EmissionStatus"]>;
export type Session = Whole<Schemas["SessionModel"]>;
export type SignedOut = Whole<Schemas["SignedOutModel"]>;
export type Quarantined = Whole<Schemas["QuarantineModel"]>;
export type Webhook = Whole<Schemas["WebhookModel"]>;
export type ArtifactBrief = Whole<Schemas["ArtifactBrief"]>;
export type ListedPipeline = Whole<Schemas["ListedPipelineModel"]>;
export type RunBrief = Whole<Schemas["RunBrief"]>;
export type Pipeline = Whole<Schemas["PipelineDetailModel"]>;
export type PipelineRun = Whole<Schemas["PipelineRunModel"]>;
export type Trend = Whole<Schemas["TrendModel"]>;
export type TrendPoint = Whole<Schemas["TrendPoint"]>;
export type Comparison = Whole<Schemas["CompareModel"]>;
export type CompareSection = Whole<Schemas["CompareSection"]>;
export type CompareRow = Whole<Schemas["CompareRow"]>;
export type CompareBlob = Whole<Schemas["CompareBlob"]>;
export type LineageGraph = Whole<Schemas["LineageGraphModel"]>;
export type LineageNode = Whole<Schemas["LineageNodeModel"]>;
export type OnCall = Whole<Schemas["OnCallModel"]>;
export type FailureGroup = Whole<Schemas["FailureGroup"]>;
export type StuckRun = Whole<Schemas["StuckRun"]>;
export type MissingRun = Whole<Schemas["MissingRun"]>;
export type Cost = Whole<Schemas["CostModel"]>;
export type CostItem = Whole<Schemas["CostItem"]>;
export type RunCost = Whole<Schemas["RunCostModel"]>;
export type Usage = Whole<Schemas["UsageModel"]>;
export type RunQuery = NonNullable<operations["list_runs_api_v1_runs_get"]["parameters"]["query"]>;

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** RFC 9457, with the members that the bridge adds. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  retryable: boolean;
}

/** One event of the outbox, as the stream tells it. */
export interface BridgeEvent {
  number: number;
  type: string;
  time: string;
  run_id: string | null;
  data: Record<string, unknown>;
}
