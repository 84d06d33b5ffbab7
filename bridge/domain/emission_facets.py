"""What OpenLineage events say of a run, its tasks and the data they read and wrote."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge.domain.explain import ExplainedInput
from bridge.domain.identity import utc_text
from bridge.domain.lineage import Artifact, ArtifactUse, Direction, Metric, Run, RunError, Task
from bridge.domain.openlineage import asking_task_facet, dataset_name, facet, own_facet, parent_facet
from bridge.domain.redaction import redact_named, redact_uri

# An event lists so many datasets at most, and says so when there are more: consumers refuse large events.
MOST_DATASETS = 500
_MOST_TEXT = 2000
_RUN_SCHEMA = "urn:kfbridge:facet:run:1-0-0"
_TASK_SCHEMA = "urn:kfbridge:facet:task:1-0-0"
_METRICS_SCHEMA = "urn:kfbridge:facet:metrics:1-0-0"
_TYPES = {"system.Model": "MODEL", "system.Dataset": "FILE"}
_MEASURED = ("system.Model", "system.Metrics")
_ROWS = ("rows", "row_count", "num_rows", "rowCount")
_BYTES = ("bytes", "size_bytes", "size")
# KFP tells its own API's version, not the server's.
_ENGINE = {"name": "Kubeflow Pipelines", "version": "v2beta1"}

Json = dict[str, Any]
_Used = list[tuple[Artifact, ArtifactUse]]


@dataclass(kw_only=True)
class Describing:
    """One run with all that is known of it, to be put into facets and datasets."""

    producer: str
    version: str
    url: str | None
    run: Run
    namespace: str
    artifacts: Sequence[Artifact]
    metrics: Sequence[Metric]
    inputs: Sequence[ExplainedInput]
    tasks: Mapping[str, Task]
    _uses: dict[tuple[str, Direction], _Used] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._uses = defaultdict(list)
        for artifact in self.artifacts:
            for use in artifact.uses:
                self._uses[use.task_id, use.direction].append((artifact, use))

    def of_run(self, *, failed: bool, over: bool) -> Json:
        """The run facets of the run itself."""
        run = self.run
        facets = self._common() | {
            "externalQuery": self._facet(
                "1-0-2/ExternalQueryRunFacet", externalQueryId=str(run.kfp_run_id), source=run.backend
            ),
            "kfbridge_run": own_facet(self.producer, _RUN_SCHEMA, **self._facts_of_run()),
        }
        if run.origin.lineage is not None:
            facets["parent"] = asking_task_facet(self.producer, run.origin.lineage)
        if run.arguments:
            facets["executionParameters"] = self._facet(
                "1-0-0/ExecutionParametersRunFacet",
                parameters=[
                    {"key": name, "value": _as_text(value)}
                    for name, value in redact_named(run.arguments).items()
                ],
            )
        if run.labels:
            facets["tags"] = self._facet(
                "1-0-0/TagsRunFacet",
                tags=[
                    {"key": key, "value": value, "source": "KFBRIDGE"}
                    for key, value in redact_named(run.labels).items()
                ],
            )
        if over and self.metrics:
            facets["kfbridge_metrics"] = self._metrics({one.key: one.value for one in self.metrics})
        if failed:
            facets["errorMessage"] = self._error(run.error, f"the run ended {run.shown_state.value}")
        return facets

    def of_task(self, task: Task, attempt: int, *, failed: bool) -> Json:
        """The run facets of one of its tasks."""
        told = {
            "task_id": task.task_id,
            "path": task.path,
            "attempt": attempt,
            "kind": task.kind,
            "iteration": task.iteration,
            "cached": task.cached,
            "pod_name": task.pod_name,
        }
        run, asked = self.run, self.run.origin.lineage
        root = (asked.root_run_id, asked.root_namespace, asked.root_job) if asked else None
        facets = self._common() | {
            "parent": parent_facet(self.producer, run.kfp_run_id, self.namespace, run.pipeline.name, root),
            "kfbridge_task": own_facet(self.producer, _TASK_SCHEMA, **_known(told)),
        }
        if failed:
            facets["errorMessage"] = self._error(task.error, f"the task ended {task.state.value}")
        return facets

    def of_job(self, job_type: str) -> Json:
        """The job facets of the pipeline or of one of its tasks."""
        told = {"processingType": "BATCH", "integration": "KUBEFLOW_PIPELINES", "jobType": job_type}
        return {"jobType": self._facet("2-0-4/JobTypeJobFacet", **told)}

    def inputs_of_run(self) -> list[Json]:
        """The data that the run was given or imported."""
        return _once(self._given(one) for one in self.inputs)

    def outputs_of_run(self) -> list[Json]:
        """What its tasks made, in the order of their making, models first."""
        made = [
            (artifact, use)
            for (task_id, direction), used in self._uses.items()
            if direction is Direction.OUTPUT and self._makes(task_id)
            for artifact, use in used
        ]
        made.sort(key=lambda one: one[0].type != "system.Model")
        return self._written(made)

    def inputs_of_task(self, task: Task) -> list[Json]:
        """What a task read. What an importer puts out others made."""
        side = Direction.OUTPUT if task.kind == "importer" else Direction.INPUT
        read = [] if task.kind == "dag" else self._uses[task.task_id, side]
        return _once(self._artifact(artifact, use, "inputFacets") for artifact, use in read)

    def outputs_of_task(self, task: Task) -> list[Json]:
        """What a task wrote; a DAG hands on what its tasks made."""
        return self._written(self._uses[task.task_id, Direction.OUTPUT]) if self._makes(task.task_id) else []

    def _makes(self, task_id: str) -> bool:
        task = self.tasks.get(task_id)
        return task is None or task.kind not in ("dag", "importer")

    def _written(self, used: _Used) -> list[Json]:
        return _once(self._artifact(artifact, use, "outputFacets") for artifact, use in used)

    def _common(self) -> Json:
        facets = {
            "processing_engine": self._facet(
                "1-1-1/ProcessingEngineRunFacet", **_ENGINE, openlineageAdapterVersion=self.version
            )
        }
        logical_date = self.run.origin.logical_date
        if logical_date is not None:
            facets["nominalTime"] = self._facet(
                "1-0-1/NominalTimeRunFacet", nominalStartTime=utc_text(logical_date)
            )
        return facets

    def _facts_of_run(self) -> Json:
        run, gate = self.run, self.run.gate
        told = {
            "run_id": str(run.run_id),
            "kfp_run_id": str(run.kfp_run_id),
            "backend": run.backend,
            "project": run.project,
            "display_name": run.display_name,
            "state": run.shown_state.value,
            "attempt": run.attempt,
            "revivals": run.revivals,
            "pipeline_digest": run.pipeline.digest or None,
            "pipeline_version": run.pipeline.version_name,
            "gate_passed": gate.passed if gate else None,
            "url": f"{self.url.rstrip('/')}/runs/{run.run_id}" if self.url else None,
        }
        return _known(told)

    def _given(self, given: ExplainedInput) -> Json | None:
        facets: Json = {"datasetType": self._facet("1-0-1/DatasetTypeDatasetFacet", datasetType="FILE")}
        if given.version is not None:
            facets["version"] = self._facet("1-0-1/DatasetVersionDatasetFacet", datasetVersion=given.version)
        counted = _known({"rowCount": given.rows, "size": given.bytes})
        statistics = self._facet("1-0-0/InputStatisticsInputDatasetFacet", **counted)
        return _dataset(given.uri, facets, inputFacets={"inputStatistics": statistics} if counted else {})

    def _artifact(self, artifact: Artifact, use: ArtifactUse, side: str) -> Json | None:
        if artifact.uri is None:
            return None
        told = artifact.metadata
        kind = _TYPES.get(artifact.type, "JOB_OUTPUT")
        facets: Json = {
            "datasetType": self._facet(
                "1-0-1/DatasetTypeDatasetFacet", datasetType=kind, subType=artifact.type
            )
        }
        if artifact.digest is not None:
            facets["version"] = self._facet(
                "1-0-1/DatasetVersionDatasetFacet", datasetVersion=artifact.digest
            )
        if fields := _fields(told.get("schema", told.get("columns"))):
            facets["schema"] = self._facet("1-2-0/SchemaDatasetFacet", fields=fields)
        if side == "outputFacets" and artifact.type in _MEASURED:
            own = {one.key: one.value for one in self.metrics if self._is_of(artifact, use, one)}
            if own:
                facets["kfbridge_metrics"] = self._metrics(own)
        counted = _known({"rowCount": _count(told, _ROWS), "size": _count(told, _BYTES)})
        statistics: Json = {}
        if counted and side == "outputFacets":
            statistics["outputStatistics"] = self._facet(
                "1-0-2/OutputStatisticsOutputDatasetFacet", **counted
            )
        elif counted:
            statistics["inputStatistics"] = self._facet("1-0-0/InputStatisticsInputDatasetFacet", **counted)
        return _dataset(artifact.uri, facets, **{side: statistics})

    @staticmethod
    def _is_of(artifact: Artifact, use: ArtifactUse, metric: Metric) -> bool:
        """A model is judged by all metrics of its run; an artifact of metrics holds those of its task."""
        return artifact.type == "system.Model" or metric.task_path == use.task_path

    def _metrics(self, values: Mapping[str, float]) -> Json:
        return own_facet(self.producer, _METRICS_SCHEMA, metrics=dict(values))

    def _error(self, error: RunError | None, otherwise: str) -> Json:
        tail = "\n".join(error.log_tail) if error else ""
        python = "Traceback (most recent call last)" in tail
        told = {
            "message": (error.message if error else otherwise)[:_MOST_TEXT],
            "programmingLanguage": "PYTHON" if python else "UNKNOWN",
            "stackTrace": tail or None,
        }
        return self._facet("1-0-1/ErrorMessageRunFacet", **_known(told))

    def _facet(self, schema: str, **values: Any) -> Json:
        return facet(self.producer, schema, **values)


def _dataset(uri: str, facets: Json, **own: Json) -> Json | None:
    try:
        namespace, name = dataset_name(redact_uri(uri))
    except ValueError:
        # What is no URI names nothing that a consumer could find.
        return None
    return {"namespace": namespace, "name": name, "facets": facets, **own}


def bounded(datasets: list[Json], told: Json) -> list[Json]:
    """As many of the datasets as an event lists; how many it leaves out is added to the facet ``told``."""
    left_out = len(datasets) - MOST_DATASETS
    if left_out > 0:
        told["datasets_left_out"] = told.get("datasets_left_out", 0) + left_out
    return datasets[:MOST_DATASETS]


def _once(datasets: Iterable[Json | None]) -> list[Json]:
    found: dict[tuple[str, str], Json] = {}
    for one in datasets:
        if one is not None:
            found.setdefault((one["namespace"], one["name"]), one)
    return list(found.values())


def _fields(told: Any) -> list[Json]:
    """The columns that an artifact's metadata names: as a list of names, or each with its type."""
    if isinstance(told, Mapping):
        return [{"name": str(name), "type": _as_text(kind)} for name, kind in told.items()]
    if not isinstance(told, Sequence) or isinstance(told, str):
        return []
    fields: list[Json] = []
    for one in told:
        if isinstance(one, str):
            fields.append({"name": one})
        elif isinstance(one, Mapping) and isinstance(one.get("name"), str):
            kind = one.get("type")
            fields.append(_known({"name": one["name"], "type": None if kind is None else _as_text(kind)}))
    return fields


def _count(told: Mapping[str, Any], names: Iterable[str]) -> int | None:
    for name in names:
        value = told.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 and value % 1 == 0:
            return int(value)
    return None


def _as_text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text[:_MOST_TEXT]


def _known(told: Mapping[str, Any]) -> Json:
    return {name: value for name, value in told.items() if value is not None}
