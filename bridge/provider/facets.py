"""What Airflow's OpenLineage provider is told of a task: the data it read, and the models it made.

The provider need not be installed; it asks only where it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

from bridge.client.errors import BridgeError
from bridge.domain.openlineage import dataset_name
from bridge.provider.hooks import KubeflowBridgeHook
from bridge.provider.outlets import MODEL_TYPE, written_as

if TYPE_CHECKING:
    from bridge.client.models import ArtifactModel, RunModel
    from bridge.provider.operators import KubeflowPipelineOperator

log = logging.getLogger(__name__)

# Airflow gives the extraction 10 s in all.
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Seen:
    """The run of a task as it was last seen on this worker, and what it made for this task."""

    run: RunModel
    made: Sequence[ArtifactModel] = ()


@dataclass(frozen=True, slots=True)
class _Classes:
    """The classes of Airflow's OpenLineage provider and of OpenLineage's client."""

    lineage: Any
    input: Any
    output: Any
    version: Any
    query: Any


def on_start(task: KubeflowPipelineOperator) -> Any:
    """The inputs as the task names them: an asset whose version only a DagRun's events tell has none yet."""
    classes = _classes()
    if classes is None:
        return None
    return classes.lineage(inputs=_inputs(classes, _named(task.inputs)))


def on_complete(task: KubeflowPipelineOperator) -> Any:
    """The inputs in the versions that the bridge recorded, and the models that the run made."""
    classes = _classes()
    if classes is None:
        return None
    models = [
        (artifact.uri, artifact.digest)
        for artifact in (task.seen.made if task.seen else ())
        if artifact.type == MODEL_TYPE and artifact.uri and written_as(artifact) is not None
    ]
    return classes.lineage(
        inputs=_inputs(classes, _recorded(task)),
        outputs=[classes.output(**_dataset(classes, uri, digest)) for uri, digest in dict(models).items()],
        run_facets=_run_facets(classes, task),
    )


def on_failure(task: KubeflowPipelineOperator) -> Any:
    """The inputs; no outputs: what a failed run left is not what the task was to make."""
    classes = _classes()
    if classes is None:
        return None
    return classes.lineage(
        inputs=_inputs(classes, _recorded(task)), outputs=[], run_facets=_run_facets(classes, task)
    )


def _classes() -> _Classes | None:
    """The classes, ``None`` where they are not installed."""
    try:
        extractors = import_module("airflow.providers.openlineage.extractors")
        facets = import_module("airflow.providers.common.compat.openlineage.facet")
        versions = import_module("openlineage.client.generated.dataset_version_dataset")
    except ImportError:
        return None
    return _Classes(
        lineage=extractors.OperatorLineage,
        input=facets.InputDataset,
        output=facets.OutputDataset,
        version=versions.DatasetVersionDatasetFacet,
        query=facets.ExternalQueryRunFacet,
    )


def _inputs(classes: _Classes, versions: Mapping[str, str | None]) -> list[Any]:
    return [classes.input(**_dataset(classes, uri, version)) for uri, version in versions.items()]


def _dataset(classes: _Classes, uri: str, version: str | None) -> dict[str, Any]:
    namespace, name = dataset_name(uri)
    facets = {} if version is None else {"version": classes.version(datasetVersion=version)}
    return {"namespace": namespace, "name": name, "facets": facets}


def _run_facets(classes: _Classes, task: KubeflowPipelineOperator) -> dict[str, Any]:
    """Which KFP run did the work, under the facet that OpenLineage has for a query of another system."""
    if task.seen is None:
        return {}
    run = task.seen.run
    return {
        "externalQuery": classes.query(externalQueryId=str(run.kfp_run_id), source=f"kubeflow:{run.backend}")
    }


def _recorded(task: KubeflowPipelineOperator) -> dict[str, str | None]:
    """The inputs as the bridge has them; those that the task names if it does not tell."""
    if task.seen is None:
        return _named(task.inputs)
    try:
        settings = KubeflowBridgeHook(task.kfbridge_conn_id).get_settings()
        with settings.client(timeout_seconds=_TIMEOUT_SECONDS, patience_seconds=0) as client:
            return {item.uri: item.version for item in client.explain(task.seen.run.run_id).inputs}
    except (BridgeError, AirflowException, AirflowRuntimeError, ValueError, OSError) as error:
        log.info("The bridge does not tell the run's inputs for OpenLineage: %s", error)
        return _named(task.inputs)


def _named(inputs: Any) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for value in inputs.values() if isinstance(inputs, Mapping) else ():
        found.update(_uris(value))
    return found


def _uris(value: Any) -> Iterable[tuple[str, str | None]]:
    if isinstance(value, Asset):
        yield value.uri, None
    elif isinstance(value, str):
        yield value, None
    elif isinstance(value, Mapping):
        if isinstance(value.get("partitions"), Sequence):
            yield from _uris(value["partitions"])
        elif isinstance(value.get("uri"), str):
            yield value["uri"], value.get("version")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _uris(item)
