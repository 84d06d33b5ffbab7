"""OpenLineage run events, as Airflow's provider and others send them, turned into what the lineage stores.

Read from the specification 2-0-2 and from Airflow's provider 2.20: its facets ``airflow`` and
``airflowDagRun`` name the DAG run and task; our own ``kfbridge_origin`` (fields of ``OriginModel``)
is preferred where present. Facets nobody here knows are kept as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from bridge.client.models import OriginModel
from bridge.domain.identity import Origin
from bridge.domain.lineage import DatasetWrite, Direction, JobRunEvent
from bridge.domain.redaction import redact_named
from bridge.domain.uris import normalise_uri
from bridge.service.convert import origin_of

_EVENT_TYPES = "^(START|RUNNING|COMPLETE|ABORT|FAIL|OTHER)$"
# They are written in one transaction.
MOST_EVENTS = 10_000
_MOMENT: TypeAdapter[datetime] = TypeAdapter(datetime)


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class _Run(_Open):
    runId: UUID
    facets: dict[str, Any] = Field(default_factory=dict)


class _Job(_Open):
    namespace: str = Field(min_length=1, max_length=1024)
    name: str = Field(min_length=1, max_length=1024)
    facets: dict[str, Any] = Field(default_factory=dict)


class _Dataset(_Open):
    namespace: str = Field(min_length=1, max_length=4096)
    name: str = Field(min_length=1, max_length=4096)
    facets: dict[str, Any] = Field(default_factory=dict)
    inputFacets: dict[str, Any] = Field(default_factory=dict)
    outputFacets: dict[str, Any] = Field(default_factory=dict)


class RunEvent(_Open):
    """An OpenLineage RunEvent, as far as it is understood here."""

    eventType: str = Field(default="OTHER", pattern=_EVENT_TYPES)
    eventTime: AwareDatetime
    producer: str | None = None
    run: _Run
    job: _Job
    inputs: list[_Dataset] = Field(default_factory=list, max_length=100_000)
    outputs: list[_Dataset] = Field(default_factory=list, max_length=100_000)


class BadEvents(ValueError):
    """Some of the events are none; ``errors`` are (JSON pointer, detail) pairs."""

    def __init__(self, errors: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{pointer}: {detail}" for pointer, detail in errors[:3]))
        self.errors = tuple(errors)


def read_events(body: Any) -> list[JobRunEvent]:
    """The run events in a request's body: one event, or a list. Raises ``BadEvents`` if any is none.

    Events about a job or a dataset alone (the specification's JobEvent and DatasetEvent) tell of
    no run and are left out.
    """
    events = body if isinstance(body, list) else [body]
    if len(events) > MOST_EVENTS:
        raise BadEvents([("", f"{len(events):,} events; at most {MOST_EVENTS:,} are taken at once")])
    base = "/{}" if isinstance(body, list) else ""
    found: list[JobRunEvent] = []
    errors: list[tuple[str, str]] = []
    for index, item in enumerate(events):
        place = base.format(index)
        if not isinstance(item, dict):
            errors.append((place, "an event is a JSON object"))
        elif "run" in item or ("job" not in item and "dataset" not in item):
            try:
                found.append(to_domain(RunEvent.model_validate(item)))
            except ValidationError as error:
                errors += [(place + _pointer(problem["loc"]), problem["msg"]) for problem in error.errors()]
    if errors:
        raise BadEvents(errors)
    return found


def to_domain(event: RunEvent) -> JobRunEvent:
    """What one event says of a run of a job."""
    job_type = _dig(event.job.facets, "jobType", "jobType")
    return JobRunEvent(
        namespace=event.job.namespace,
        job=event.job.name,
        ol_run_id=event.run.runId,
        event_type=event.eventType,
        event_time=event.eventTime.astimezone(UTC),
        job_type=job_type if isinstance(job_type, str) else None,
        parent_ol_run_id=_uuid(_dig(event.run.facets, "parent", "run", "runId")),
        origin=_origin(event),
        datasets=tuple(_datasets(event)),
        facets=redact_named({"run": event.run.facets, "job": event.job.facets}),
    )


def dataset_uri(namespace: str, name: str) -> str:
    """The URI of an OpenLineage dataset, in the lineage's one spelling.

    ``file`` and ``/path`` is ``file:///path``; ``s3://bucket`` and ``key`` is ``s3://bucket/key``; a
    name that is a URI itself stands alone; a namespace that is none becomes part of a URN.
    """
    if "://" in name:
        return normalise_uri(name)
    if namespace in ("file", "file:", "file://"):
        return normalise_uri("/" + name.lstrip("/"))
    if "://" in namespace:
        return normalise_uri(f"{namespace.rstrip('/')}/{name.lstrip('/')}")
    return normalise_uri(f"urn:openlineage:{quote(namespace, safe='')}:{quote(name, safe='/')}")


def _datasets(event: RunEvent) -> Iterable[DatasetWrite]:
    for direction, datasets in ((Direction.INPUT, event.inputs), (Direction.OUTPUT, event.outputs)):
        for dataset in datasets:
            own = dataset.inputFacets if direction is Direction.INPUT else dataset.outputFacets
            statistics = own.get(
                "inputStatistics" if direction is Direction.INPUT else "outputStatistics",
                dataset.facets.get("outputStatistics"),
            )
            version = _dig(dataset.facets, "version", "datasetVersion")
            yield DatasetWrite(
                uri=dataset_uri(dataset.namespace, dataset.name),
                version=str(version)[:255] if version else None,
                rows=_count(_dig(statistics, "rowCount")),
                bytes=_count(_dig(statistics, "size")),
                direction=direction,
            )


def _origin(event: RunEvent) -> Origin | None:
    own = event.run.facets.get("kfbridge_origin")
    if isinstance(own, dict):
        try:
            return origin_of(OriginModel.model_validate(own))
        except ValidationError:
            # A facet is a hint of a caller's; a broken one must not lose the event.
            return _airflow_origin(event.run.facets)
    return _airflow_origin(event.run.facets)


def _airflow_origin(facets: Mapping[str, Any]) -> Origin | None:
    airflow = facets.get("airflow") or facets.get("airflowDagRun")
    if not isinstance(airflow, dict):
        return None
    dag_id = _dig(airflow, "dag", "dag_id") or _dig(airflow, "dagRun", "dag_id")
    if not isinstance(dag_id, str):
        return None
    map_index = _dig(airflow, "taskInstance", "map_index")
    try_number = _dig(airflow, "taskInstance", "try_number")
    return Origin(
        scheduler="airflow",
        dag_id=dag_id,
        dag_run_id=_text(_dig(airflow, "dagRun", "run_id")),
        dag_run_start=_moment(_dig(airflow, "dagRun", "start_date")),
        task_id=_text(_dig(airflow, "task", "task_id")),
        map_index=map_index if isinstance(map_index, int) else -1,
        try_number=try_number if isinstance(try_number, int) and try_number >= 1 else 1,
        logical_date=_moment(_dig(airflow, "dagRun", "logical_date")),
        partition_key=_text(_dig(airflow, "dagRun", "partition_key")),
    )


def _dig(value: Any, *names: str) -> Any:
    for name in names:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _uuid(value: Any) -> UUID | None:
    try:
        return UUID(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _moment(value: Any) -> datetime | None:
    if not isinstance(value, str) or not value:
        return None
    try:
        moment = _MOMENT.validate_python(value)
    except ValidationError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def _pointer(location: Iterable[Any]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)
