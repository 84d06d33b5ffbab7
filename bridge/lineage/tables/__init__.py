"""The tables. Every one carries ``backend`` and ``project``, ``''`` where that makes no sense.

``running`` holds what the bridge does, ``mirrored`` what backends told of runs, ``data`` the datasets
and Airflow's side, ``keeping`` the outbox and the bridge's own bookkeeping, ``audited`` who did what,
``hooks`` who is told of events, ``costs`` what runs used, ``people`` who may ask, and who is signed in.
"""

from __future__ import annotations

from bridge.lineage.tables.audited import AuditEntryRow, AuditRow, AuditWaitingRow, LegalHoldRow
from bridge.lineage.tables.base import METADATA, Row, table
from bridge.lineage.tables.costs import PriceRow, RunUsageRow, UsageTotalRow
from bridge.lineage.tables.data import DatasetRow, DatasetUseRow, DatasetVersionRow, JobRow, JobRunRow
from bridge.lineage.tables.hooks import DeliveryRow, EmissionRow, WebhookRow
from bridge.lineage.tables.keeping import (
    BackendStateRow,
    BackendSwitchRow,
    CounterRow,
    LeaseRow,
    OutboxRow,
    QuarantineRow,
    SettingsInUseRow,
)
from bridge.lineage.tables.mirrored import (
    ArtifactRow,
    ArtifactUseRow,
    MetricBlobRow,
    MetricRow,
    TaskCauseRow,
    TaskRow,
)
from bridge.lineage.tables.people import ApiTokenRow, SessionRow
from bridge.lineage.tables.running import (
    BackendVersionRow,
    DutyRow,
    PipelineAliasRow,
    PipelineRow,
    PipelineVersionRow,
    RunHistoryRow,
    RunLabelRow,
    RunRow,
    SpecRow,
    SubmissionRow,
    UsedKeyRow,
)

API_TOKENS = table(ApiTokenRow)
ARTIFACTS = table(ArtifactRow)
ARTIFACT_USES = table(ArtifactUseRow)
AUDIT = table(AuditRow)
AUDIT_CHAIN = table(AuditEntryRow)
AUDIT_WAITING = table(AuditWaitingRow)
BACKEND_STATE = table(BackendStateRow)
BACKEND_SWITCHES = table(BackendSwitchRow)
BACKEND_VERSIONS = table(BackendVersionRow)
COUNTERS = table(CounterRow)
DATASETS = table(DatasetRow)
DATASET_USES = table(DatasetUseRow)
DATASET_VERSIONS = table(DatasetVersionRow)
DUTIES = table(DutyRow)
EMISSIONS = table(EmissionRow)
JOBS = table(JobRow)
JOB_RUNS = table(JobRunRow)
LEASES = table(LeaseRow)
LEGAL_HOLDS = table(LegalHoldRow)
METRICS = table(MetricRow)
METRIC_BLOBS = table(MetricBlobRow)
OUTBOX = table(OutboxRow)
PIPELINES = table(PipelineRow)
PIPELINE_ALIASES = table(PipelineAliasRow)
PIPELINE_VERSIONS = table(PipelineVersionRow)
PRICES = table(PriceRow)
QUARANTINE = table(QuarantineRow)
RUNS = table(RunRow)
RUN_HISTORY = table(RunHistoryRow)
RUN_LABELS = table(RunLabelRow)
RUN_USAGE = table(RunUsageRow)
SESSIONS = table(SessionRow)
SETTINGS_IN_USE = table(SettingsInUseRow)
SPECS = table(SpecRow)
SUBMISSIONS = table(SubmissionRow)
TASKS = table(TaskRow)
TASK_CAUSES = table(TaskCauseRow)
USAGE_TOTALS = table(UsageTotalRow)
USED_KEYS = table(UsedKeyRow)
WEBHOOKS = table(WebhookRow)
WEBHOOK_DELIVERIES = table(DeliveryRow)

__all__ = [
    "API_TOKENS",
    "ARTIFACTS",
    "ARTIFACT_USES",
    "AUDIT",
    "AUDIT_CHAIN",
    "AUDIT_WAITING",
    "BACKEND_STATE",
    "BACKEND_SWITCHES",
    "BACKEND_VERSIONS",
    "COUNTERS",
    "DATASETS",
    "DATASET_USES",
    "DATASET_VERSIONS",
    "DUTIES",
    "EMISSIONS",
    "JOBS",
    "JOB_RUNS",
    "LEASES",
    "LEGAL_HOLDS",
    "METADATA",
    "METRICS",
    "METRIC_BLOBS",
    "OUTBOX",
    "PIPELINES",
    "PIPELINE_ALIASES",
    "PIPELINE_VERSIONS",
    "PRICES",
    "QUARANTINE",
    "RUNS",
    "RUN_HISTORY",
    "RUN_LABELS",
    "RUN_USAGE",
    "SESSIONS",
    "SETTINGS_IN_USE",
    "SPECS",
    "SUBMISSIONS",
    "TASKS",
    "TASK_CAUSES",
    "USAGE_TOTALS",
    "USED_KEYS",
    "WEBHOOKS",
    "WEBHOOK_DELIVERIES",
    "Row",
]
