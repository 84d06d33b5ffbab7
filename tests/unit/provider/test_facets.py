"""What Airflow's OpenLineage provider is told of the operator, with stand-ins for its classes."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from airflow.sdk import Asset

from bridge.client.errors import BridgeUnreachable
from bridge.client.models import ArtifactModel, ArtifactUseModel
from bridge.provider.facets import Seen
from bridge.provider.hooks import BridgeSettings
from bridge.provider.operators import KubeflowPipelineOperator
from tests.unit.provider.support import TRAINING
from tests.unit.provider.test_outcome import a_run


@dataclass
class OperatorLineage:
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    run_facets: dict[str, Any] = field(default_factory=dict)
    job_facets: dict[str, Any] = field(default_factory=dict)


@dataclass
class Dataset:
    namespace: str
    name: str
    facets: dict[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> tuple[str, str, str | None]:
        version = self.facets.get("version")
        return self.namespace, self.name, version and version.datasetVersion


@pytest.fixture
def openlineage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if Airflow's OpenLineage provider were installed."""
    stand_ins = {
        "airflow.providers.openlineage.extractors": {"OperatorLineage": OperatorLineage},
        "airflow.providers.common.compat.openlineage.facet": {
            "InputDataset": Dataset,
            "OutputDataset": Dataset,
            "ExternalQueryRunFacet": SimpleNamespace,
        },
        "openlineage.client.generated.dataset_version_dataset": {
            "DatasetVersionDatasetFacet": SimpleNamespace
        },
    }
    for name, attributes in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
        # The packages around it, which import_module imports first.
        for parent in (name.rsplit(".", count)[0] for count in range(1, name.count("."))):
            if parent.startswith(("openlineage", "airflow.providers.openlineage")):
                monkeypatch.setitem(sys.modules, parent, ModuleType(parent))
    monkeypatch.setitem(sys.modules, "openlineage", ModuleType("openlineage"))


class Client:
    """A bridge that tells, or does not tell, what a run read."""

    def __init__(self, inputs: dict[str, str | None] | None) -> None:
        self._inputs = inputs

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def explain(self, run_id: object) -> Any:
        if self._inputs is None:
            raise BridgeUnreachable("away", url="http://bridge", sent=False)
        found = [SimpleNamespace(uri=uri, version=version) for uri, version in self._inputs.items()]
        return SimpleNamespace(inputs=found)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """What the bridge tells of the run's inputs; emptied, it does not answer."""
    inputs: dict[str, str | None] = {"s3://lake/flights/day=1": "abc"}
    monkeypatch.setenv("AIRFLOW_CONN_KFBRIDGE_DEFAULT", '{"conn_type": "kfbridge", "host": "http://bridge"}')
    monkeypatch.setattr(BridgeSettings, "client", lambda self, **_: Client(inputs or None))
    return inputs


def a_task() -> KubeflowPipelineOperator:
    inputs = {
        "flights": Asset("flights", uri="s3://lake/flights"),
        "note": [
            "file:///data/a",
            {"uri": "s3://lake/b", "version": "7"},
            {"partitions": [{"uri": "s3://lake/c"}]},
        ],
    }
    return KubeflowPipelineOperator(
        task_id="train", pipeline=str(TRAINING), arguments={"epochs": 1}, inputs=inputs
    )


NAMED = [
    ("s3://lake", "flights", None),
    ("file", "/data/a", None),
    ("s3://lake", "b", "7"),
    ("s3://lake", "c", None),
]


def an_artifact(uri: str, *, type: str = "system.Model", direction: Any = "OUTPUT") -> ArtifactModel:
    use = ArtifactUseModel(run_id=uuid4(), task_path="train", key="model", direction=direction)
    return ArtifactModel(artifact_id=uuid4(), type=type, uri=uri, digest="d1", uses=[use])


MADE = [
    an_artifact("s3://models/7"),
    an_artifact("s3://models/6", direction="INPUT"),
    an_artifact("s3://metrics/7", type="system.Metrics"),
]


def test_without_the_provider_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow.providers.openlineage.extractors", None)
    task = a_task()
    assert task.get_openlineage_facets_on_start() is None
    assert task.get_openlineage_facets_on_complete(None) is None
    assert task.get_openlineage_facets_on_failure(None) is None


@pytest.mark.usefixtures("openlineage")
def test_at_the_start_the_data_that_is_named() -> None:
    lineage = a_task().get_openlineage_facets_on_start()
    assert [dataset.said for dataset in lineage.inputs] == NAMED
    assert lineage.outputs == []


@pytest.mark.usefixtures("openlineage", "told")
def test_at_the_end_the_versions_that_were_read_and_the_models_that_were_made() -> None:
    task = a_task()
    task.seen = Seen(a_run(), MADE)
    lineage = task.get_openlineage_facets_on_complete(None)
    assert [dataset.said for dataset in lineage.inputs] == [("s3://lake", "flights/day=1", "abc")]
    assert [dataset.said for dataset in lineage.outputs] == [("s3://models", "7", "d1")]
    facet = lineage.run_facets["externalQuery"]
    assert (facet.externalQueryId, facet.source) == (str(task.seen.run.kfp_run_id), "kubeflow:default")


@pytest.mark.usefixtures("openlineage", "told")
def test_a_failed_task_made_nothing() -> None:
    task = a_task()
    task.seen = Seen(a_run(), MADE)
    lineage = task.get_openlineage_facets_on_failure(None)
    assert [dataset.said for dataset in lineage.inputs] == [("s3://lake", "flights/day=1", "abc")]
    assert lineage.outputs == []
    assert "externalQuery" in lineage.run_facets


@pytest.mark.usefixtures("openlineage")
def test_a_bridge_that_does_not_answer_leaves_what_is_named(told: dict[str, str | None]) -> None:
    told.clear()
    task = a_task()
    task.seen = Seen(a_run(), MADE)
    lineage = task.get_openlineage_facets_on_complete(None)
    assert [dataset.said for dataset in lineage.inputs] == NAMED


@pytest.mark.usefixtures("openlineage")
def test_a_task_that_never_had_a_run_tells_what_it_named() -> None:
    lineage = a_task().get_openlineage_facets_on_failure(None)
    assert [dataset.said for dataset in lineage.inputs] == NAMED
    assert lineage.run_facets == {}


def test_the_classes_of_the_real_provider_take_what_is_told() -> None:
    from airflow.providers.openlineage.extractors import OperatorLineage as RealLineage

    task = KubeflowPipelineOperator(
        task_id="train",
        pipeline=str(TRAINING),
        arguments={"epochs": 1},
        inputs={"flights": [{"uri": "s3://lake/flights/day=1", "version": "abc"}]},
    )
    told = task.get_openlineage_facets_on_start()
    assert isinstance(told, RealLineage)
    (read,) = told.inputs
    assert (read.namespace, read.name) == ("s3://lake", "flights/day=1")
    assert read.facets["version"].datasetVersion == "abc"
