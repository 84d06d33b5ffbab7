"""OpenLineage run events for Airflow tasks, under the same ids as Airflow's own OpenLineage provider.

The ids and names are those that its version 2.20 derives (OpenLineage 2-0-2), so that what both send
of one task is one run; the provider itself need not be installed.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

from pydantic import ValidationError

from bridge.client.models import LineageParentModel
from bridge.domain.uris import normalise_uri
from bridge.provider.compat import conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import InputModel, OriginModel

log = logging.getLogger(__name__)

PRODUCER = "urn:kfbridge:airflow-provider"
_SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"
_FACETS = "https://openlineage.io/spec/facets"
_ORIGIN_SCHEMA = "urn:kfbridge:facet:origin:1-0-0"
_ROOT = (("root_run_id", "RunId"), ("root_namespace", "JobNamespace"), ("root_job", "JobName"))


def namespace() -> str:
    """The namespace of this Airflow's jobs, as its OpenLineage settings say."""
    told = conf.get("openlineage", "namespace", fallback="") or os.environ.get("OPENLINEAGE_NAMESPACE")
    return told or "default"


def static_run_id(instant: datetime, data: str) -> UUID:
    """The id that OpenLineage's clients derive from a moment and a text: a UUID of version 7 whose random
    part is the head of a SHA-1 over both."""
    moment = instant.astimezone(UTC)
    milliseconds = int(moment.timestamp() * 1000) & (2**48 - 1)
    digest = hashlib.sha1(moment.isoformat().encode() + data.encode(), usedforsecurity=False).digest()
    tail = int.from_bytes(digest, "big") >> 84
    without_variant = milliseconds << 80 | 7 << 76 | tail & ~(0b11 << 62)
    return UUID(int=without_variant | 0b10 << 62)


def task_run_id(context: Context) -> UUID:
    """The OpenLineage run id of the try that is executing."""
    ti, moment = context["ti"], _moment(context)
    map_index = -1 if ti.map_index is None else ti.map_index
    return static_run_id(moment, f"{namespace()}.{ti.dag_id}.{ti.task_id}.{ti.try_number}.{map_index}")


def dag_run_id(context: Context) -> UUID:
    """The OpenLineage run id of the DagRun that is executing."""
    dag_run = context["dag_run"]
    return static_run_id(_moment(context), f"{namespace()}.{dag_run.dag_id}.{dag_run.clear_number or 0}")


def lineage_parent(context: Context) -> LineageParentModel:
    """The executing try as the parent of a run that it asks for, with the root of its hierarchy: what the
    DagRun's ``conf`` names as such, as Airflow's OpenLineage provider reads it, else the DagRun."""
    ti, dag_run = context["ti"], context["dag_run"]
    own = LineageParentModel(
        run_id=task_run_id(context),
        namespace=namespace(),
        job=f"{ti.dag_id}.{ti.task_id}",
        root_run_id=dag_run_id(context),
        root_namespace=namespace(),
        root_job=ti.dag_id,
    )
    told = dict(getattr(dag_run, "conf", None) or {}).get("openlineage")
    if not isinstance(told, Mapping):
        return own
    for prefix in ("rootParent", "parent"):
        root = {field: told.get(prefix + name) for field, name in _ROOT}
        if all(root.values()):
            try:
                return LineageParentModel.model_validate({**own.model_dump(), **root})
            except ValidationError as error:
                # Whoever triggered the DagRun made a mistake that must not cost the run.
                log.warning("The DagRun's conf names no OpenLineage root: %s", error)
    return own


def outputs_event(context: Context, origin: OriginModel, outputs: Sequence[InputModel]) -> dict[str, Any]:
    """A ``RUNNING`` event that says what the executing task has written.

    It tells nothing of the task's end: that is Airflow's to tell.
    """
    ti = context["ti"]
    return {
        "eventType": "RUNNING",
        "eventTime": datetime.now(UTC).isoformat(),
        "producer": PRODUCER,
        "schemaURL": _SCHEMA,
        "run": {"runId": str(task_run_id(context)), "facets": _run_facets(context, origin)},
        "job": {
            "namespace": namespace(),
            "name": f"{ti.dag_id}.{ti.task_id}",
            "facets": {
                "jobType": _facet(
                    "2-0-4/JobTypeJobFacet",
                    processingType="BATCH",
                    integration="AIRFLOW",
                    jobType="TASK",
                )
            },
        },
        "inputs": [],
        "outputs": [_dataset(output) for output in outputs],
    }


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name of a dataset as OpenLineage's naming rules want them."""
    normal = normalise_uri(uri)
    parts = urlsplit(normal)
    if parts.scheme == "file" and not parts.netloc:
        return "file", unquote(parts.path)
    if parts.netloc and parts.path.strip("/") and not parts.query and not parts.fragment:
        return f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/")
    return parts.scheme or "uri", normal


def _run_facets(context: Context, origin: OriginModel) -> dict[str, Any]:
    dag_id = context["ti"].dag_id
    parent = {
        "run": {"runId": str(dag_run_id(context))},
        "job": {"namespace": namespace(), "name": dag_id},
    }
    facets = {
        "parent": _facet("1-2-0/ParentRunFacet", **parent, root=parent),
        "kfbridge_origin": {
            "_producer": PRODUCER,
            "_schemaURL": _ORIGIN_SCHEMA,
            **origin.model_dump(mode="json", exclude={"asset_events", "lineage"}, exclude_none=True),
        },
    }
    start = context["dag_run"].data_interval_start
    if start is not None:
        end = context["dag_run"].data_interval_end or start
        facets["nominalTime"] = _facet(
            "1-0-1/NominalTimeRunFacet",
            nominalStartTime=start.isoformat(),
            nominalEndTime=end.isoformat(),
        )
    return facets


def _dataset(output: InputModel) -> dict[str, Any]:
    where, name = dataset_name(output.uri)
    facets: dict[str, Any] = {}
    if output.version is not None:
        facets["version"] = _facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=output.version)
    counted = {"rowCount": output.rows, "size": output.bytes}
    known = {key: value for key, value in counted.items() if value is not None}
    statistics = _facet("1-0-2/OutputStatisticsOutputDatasetFacet", **known)
    return {
        "namespace": where,
        "name": name,
        "facets": facets,
        "outputFacets": {"outputStatistics": statistics} if known else {},
    }


def _facet(schema: str, **values: Any) -> dict[str, Any]:
    name = schema.split("/")[1]
    return {"_producer": PRODUCER, "_schemaURL": f"{_FACETS}/{schema}.json#/$defs/{name}", **values}


def _moment(context: Context) -> datetime:
    dag_run = context["dag_run"]
    moment: datetime = dag_run.logical_date or dag_run.run_after
    return moment
