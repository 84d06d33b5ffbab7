"""Between the API's messages and the domain's nouns, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from urllib.parse import quote
from uuid import UUID

from bridge.client.lineage import JobRunModel
from bridge.client.models import (
    ArtifactModel,
    ArtifactUseModel,
    CauseModel,
    ErrorModel,
    EventModel,
    EvidenceModel,
    GateModel,
    InputModel,
    LineageParentModel,
    MetricBlobModel,
    MetricModel,
    OriginModel,
    PipelineModel,
    RunLinks,
    RunModel,
    TaskModel,
)
from bridge.domain.causes import Cause
from bridge.domain.explain import JobRun
from bridge.domain.identity import LineageParent, Origin
from bridge.domain.lineage import (
    Artifact,
    ArtifactUse,
    GateVerdict,
    InputVersion,
    Metric,
    MetricBlob,
    Run,
    RunError,
    Task,
)
from bridge.domain.redaction import redact_named, redact_uri, without_credentials
from bridge.domain.states import RunPhase, RuntimeState
from bridge.domain.tracing import valid_traceparent
from bridge.domain.uris import normalise_uri
from bridge.lineage.records import Event
from bridge.service.airflow import Airflow
from bridge.service.settings import ServiceSettings

_OVER_WITHOUT_SETTLING = (RunPhase.REJECTED, RunPhase.LOST, RunPhase.ABANDONED)
_PLAIN_ORIGIN = tuple(name for name in OriginModel.model_fields if name not in ("asset_events", "lineage"))


def origin_of(model: OriginModel) -> Origin:
    """The origin a message tells of; moments without a zone are taken as UTC."""
    values = model.model_dump()
    for name in ("dag_run_start", "logical_date"):
        values[name] = _utc(values[name])
    values["asset_events"] = tuple(values["asset_events"])
    if values["lineage"] is not None:
        values["lineage"] = LineageParent(**values["lineage"])
    values["traceparent"] = valid_traceparent(values["traceparent"])
    return Origin(**values)


def origin_model(origin: Origin) -> OriginModel:
    """An origin as the API shows it."""
    return OriginModel(
        **{name: getattr(origin, name) for name in _PLAIN_ORIGIN},
        asset_events=[redact_named(event) for event in origin.asset_events],
        lineage=None if origin.lineage is None else LineageParentModel(**asdict(origin.lineage)),
    )


def event_model(event: Event) -> EventModel:
    """An event as the API shows it."""
    return EventModel(
        number=event.number,
        type=event.type,
        time=event.time,
        run_id=event.run_id,
        data={**event.data, "project": event.project, "backend": event.backend},
    )


def job_run_model(found: JobRun) -> JobRunModel:
    """A run of a job as the API shows it."""
    return JobRunModel(**asdict(found))


def input_of(model: InputModel) -> InputVersion:
    """An input with its URI in the one spelling. Raises ``ValueError`` if the URI names no place."""
    return InputVersion(
        name=model.name,
        uri=normalise_uri(model.uri),
        version=model.version,
        version_kind=model.version_kind,
        rows=model.rows,
        bytes=model.bytes,
        producer=origin_of(model.producer) if model.producer else None,
    )


def is_over(run: Run) -> bool:
    """Whether a caller that waits for the run need wait no longer: its end is known, mirrored and judged."""
    return run.settled_at is not None or run.phase in _OVER_WITHOUT_SETTLING


class Presenter:
    """Makes the API's messages from domain objects, with links that the settings know how to build."""

    def __init__(self, settings: ServiceSettings, airflow: Airflow | None = None) -> None:
        self._settings = settings
        self._airflow = airflow

    def run(
        self,
        run: Run,
        *,
        base_url: str,
        stale_since: datetime | None = None,
        warnings: list[str] | None = None,
        waiting: str | None = None,
        causes: Sequence[Cause] = (),
    ) -> RunModel:
        """A run as readers see it; ``stale_since`` is since when its backend has not answered, ``waiting``
        why it was not sent yet."""
        return RunModel(
            run_id=run.run_id,
            kfp_run_id=run.kfp_run_id,
            submission_key=run.submission_key,
            attempt=run.attempt,
            backend=run.backend,
            project=run.project,
            namespace=run.namespace,
            pipeline=PipelineModel(
                name=run.pipeline.name,
                digest=run.pipeline.digest,
                version_name=run.pipeline.version_name,
                alias=run.pipeline.alias,
            ),
            display_name=run.display_name,
            experiment=run.experiment,
            state=run.shown_state.value,
            phase=run.phase.value,
            mirror=run.mirror.value,
            over=is_over(run),
            good=run.is_good,
            version=run.version,
            created_at=run.created_at,
            submitted_at=run.submitted_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            stale_since=None if run.phase.is_over else stale_since,
            cancel_requested_at=run.cancel_requested_at,
            revivals=run.revivals,
            error=error_model(run.error),
            causes=[cause_model(cause) for cause in shown_causes(run, causes)],
            gate=gate_model(run.gate),
            arguments=redact_named(run.arguments),
            labels=redact_named(run.labels),
            origin=origin_model(run.origin),
            links=self.links(run, base_url),
            warnings=warnings or [],
            waiting=waiting,
            clearable=self._airflow is not None and self._airflow.knows(run.origin),
        )

    def links(self, run: Run, base_url: str) -> RunLinks:
        """Where a person can look at the run."""
        base = (self._settings.public_url or base_url).rstrip("/")
        return RunLinks(
            bridge=f"{base}/runs/{run.run_id}",
            kfp=self._kfp_link(run),
            scheduler=self._scheduler_link(run.origin),
        )

    def _kfp_link(self, run: Run) -> str | None:
        backend = self._settings.backend(run.backend)
        # A queued run has its id already, and a scheduler that notes links once, when it has submitted,
        # would otherwise show none until the run's end.
        if backend is None or run.phase is RunPhase.REJECTED:
            return None
        base = without_credentials(backend.ui_url or backend.url).rstrip("/")
        return f"{base}/#/runs/details/{run.kfp_run_id}"

    def _scheduler_link(self, origin: Origin) -> str | None:
        base = self._settings.airflow_url
        # It becomes a link on a page, and whoever submits says what it is.
        given = origin.url if origin.url and origin.url.lower().startswith(("http://", "https://")) else None
        if given or not base or not origin.is_task_instance:
            return given
        mapped = f"/mapped/{origin.map_index}" if origin.map_index >= 0 else ""
        return airflow_link(base, origin.dag_id, origin.dag_run_id, origin.task_id) + mapped


def airflow_link(base: str, dag_id: str | None, dag_run_id: str | None, task_id: str | None) -> str:
    """The address of Airflow's page of a task instance."""
    dag, run, task = (quote(part or "", safe="") for part in (dag_id, dag_run_id, task_id))
    return f"{base.rstrip('/')}/dags/{dag}/runs/{run}/tasks/{task}"


def error_model(error: RunError | None) -> ErrorModel | None:
    """An error as the API shows it."""
    if error is None:
        return None
    return ErrorModel(
        message=error.message,
        code=error.code,
        task=error.task,
        log_tail=list(error.log_tail),
        kind=error.kind,
    )


def shown_causes(run: Run, causes: Sequence[Cause]) -> list[Cause]:
    """The causes that hold for a run as it is: what it waits for while it goes on, why it failed after."""
    if run.phase is RunPhase.ACTIVE:
        return [cause for cause in causes if cause.waiting]
    return [cause for cause in causes if not cause.waiting and run.state is RuntimeState.FAILED]


def cause_model(cause: Cause) -> CauseModel:
    """A cause as the API shows it."""
    return CauseModel(
        kind=cause.kind.value,
        message=cause.message,
        task=cause.task,
        weight=cause.weight,
        waiting=cause.waiting,
        evidence=[
            EvidenceModel(
                witness=one.witness.value,
                reason=one.reason,
                message=one.message,
                exit_code=one.exit_code,
                pod=one.pod,
                container=one.container,
                at=one.at,
            )
            for one in cause.evidence
        ],
    )


def gate_model(gate: GateVerdict | None) -> GateModel | None:
    """A gate's verdict as the API shows it."""
    if gate is None:
        return None
    return GateModel(
        expression=gate.expression,
        passed=gate.passed,
        numbers=dict(gate.numbers),
        reason=gate.reason,
        last_good_run=gate.last_good_run,
    )


def task_model(task: Task, causes: Sequence[Cause] = ()) -> TaskModel:
    """A task as the API shows it; of the run's ``causes`` those that are about it."""
    return TaskModel(
        task_id=task.task_id,
        name=task.name,
        path=task.path,
        parent_task_id=task.parent_task_id,
        kind=task.kind,
        iteration=task.iteration,
        state=task.state.value,
        cached=task.cached,
        pod_name=task.pod_name,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        error=error_model(task.error),
        causes=[cause_model(cause) for cause in causes if cause.task == (task.path or task.name)],
        inputs=redact_named(task.inputs),
        outputs=redact_named(task.outputs),
    )


def artifact_model(artifact: Artifact, uses: Iterable[tuple[UUID, ArtifactUse]]) -> ArtifactModel:
    """A stored artifact as the API shows it, with the given uses (run id and use)."""
    assert artifact.artifact_id is not None, "only stored artifacts are shown"
    return ArtifactModel(
        artifact_id=artifact.artifact_id,
        type=artifact.type,
        uri=redact_uri(artifact.uri) if artifact.uri else artifact.uri,
        name=artifact.name,
        digest=artifact.digest,
        metadata=redact_named(artifact.metadata),
        created_at=artifact.created_at,
        content=artifact.content.state.value if artifact.content else None,
        content_error=artifact.content.error if artifact.content else None,
        content_checked_at=artifact.content_checked_at,
        uses=[
            ArtifactUseModel(
                run_id=run_id,
                task_path=use.task_path,
                key=use.key,
                direction=use.direction.value,
                index=use.index,
            )
            for run_id, use in uses
        ],
    )


def metric_model(metric: Metric) -> MetricModel:
    """A scalar metric as the API shows it."""
    return MetricModel(
        key=metric.key, task_path=metric.task_path, name=metric.name, value=metric.value, step=metric.step
    )


def blob_model(blob: MetricBlob) -> MetricBlobModel:
    """A structured metric as the API shows it."""
    return MetricBlobModel(task_path=blob.task_path, name=blob.name, kind=blob.kind, content=blob.content)


def _utc(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
