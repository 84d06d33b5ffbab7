"""OpenLineage run events for Airflow tasks, under the same ids as Airflow's own OpenLineage provider.

The ids and names are those that its version 2.20 derives (OpenLineage 2-0-2), so that what both send
of one task is one run; the provider itself need not be installed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from bridge.client.models import LineageParentModel
from bridge.domain.openlineage import (
    dataset_name,
    facet,
    own_facet,
    parent_facet,
    run_event,
    static_run_id,
)
from bridge.provider.compat import conf

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.client.models import InputModel, OriginModel

log = logging.getLogger(__name__)

PRODUCER = "urn:kfbridge:airflow-provider"
_ORIGIN_SCHEMA = "urn:kfbridge:facet:origin:1-0-0"
_ROOT = (("root_run_id", "RunId"), ("root_namespace", "JobNamespace"), ("root_job", "JobName"))


def namespace() -> str:
    """The namespace of this Airflow's jobs, as its OpenLineage settings say."""
    told = conf.get("openlineage", "namespace", fallback="") or os.environ.get("OPENLINEAGE_NAMESPACE")
    return told or "default"


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
    job_type = facet(
        PRODUCER, "2-0-4/JobTypeJobFacet", processingType="BATCH", integration="AIRFLOW", jobType="TASK"
    )
    return run_event(
        "RUNNING",
        datetime.now(UTC),
        producer=PRODUCER,
        run_id=task_run_id(context),
        namespace=namespace(),
        job=f"{ti.dag_id}.{ti.task_id}",
        run_facets=_run_facets(context, origin),
        job_facets={"jobType": job_type},
        outputs=[_dataset(output) for output in outputs],
    )


def _run_facets(context: Context, origin: OriginModel) -> dict[str, Any]:
    dag_id = context["ti"].dag_id
    told = origin.model_dump(mode="json", exclude={"asset_events", "lineage"}, exclude_none=True)
    facets = {
        "parent": parent_facet(PRODUCER, dag_run_id(context), namespace(), dag_id),
        "kfbridge_origin": own_facet(PRODUCER, _ORIGIN_SCHEMA, **told),
    }
    start = context["dag_run"].data_interval_start
    if start is not None:
        end = context["dag_run"].data_interval_end or start
        facets["nominalTime"] = facet(
            PRODUCER,
            "1-0-1/NominalTimeRunFacet",
            nominalStartTime=start.isoformat(),
            nominalEndTime=end.isoformat(),
        )
    return facets


def _dataset(output: InputModel) -> dict[str, Any]:
    where, name = dataset_name(output.uri)
    facets: dict[str, Any] = {}
    if output.version is not None:
        facets["version"] = facet(PRODUCER, "1-0-1/DatasetVersionDatasetFacet", datasetVersion=output.version)
    counted = {"rowCount": output.rows, "size": output.bytes}
    known = {key: value for key, value in counted.items() if value is not None}
    statistics = facet(PRODUCER, "1-0-2/OutputStatisticsOutputDatasetFacet", **known)
    return {
        "namespace": where,
        "name": name,
        "facets": facets,
        "outputFacets": {"outputStatistics": statistics} if known else {},
    }


def _moment(context: Context) -> datetime:
    dag_run = context["dag_run"]
    moment: datetime = dag_run.logical_date or dag_run.run_after
    return moment
