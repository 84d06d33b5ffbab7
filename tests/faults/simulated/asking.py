"""A task instance of Airflow that asks for its run, and the pipeline that it asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bridge.client.models import OriginModel, SubmitRequest
from bridge.lineage import specs
from bridge.lineage.database import Database
from bridge.lineage.records import BackendVersion
from bridge.spec.load import load_pipeline
from tests.faults.simulated.kfp import SimulatedKfp

SPEC = (Path(__file__).parents[2] / "support" / "pipelines" / "training.yaml").read_text(encoding="utf-8")
PIPELINE = load_pipeline(SPEC)


@dataclass(frozen=True)
class Asking:
    """A task instance of Airflow, as it stands: what the next request for it says."""

    name: str
    generation: int = 0
    try_number: int = 1
    epochs: int = 1
    on_retry: str = "new_run"
    on_clear: str = "cancel_then_new"

    def request(self) -> SubmitRequest:
        """The request."""
        origin = OriginModel(
            scheduler="airflow",
            dag_id="dag",
            dag_run_id="run",
            task_id=self.name,
            try_number=self.try_number,
            max_tries=self.generation,
        )
        return SubmitRequest.model_validate(
            {
                "spec": SPEC,
                "arguments": {"epochs": self.epochs},
                "on_retry": self.on_retry,
                "on_clear": self.on_clear,
                "origin": origin,
            }
        )


def know_the_pipeline(database: Database, kfp: SimulatedKfp) -> None:
    """The backend has the pipeline already: uploading it is another story."""
    kfp.versions["version"] = {"pipeline_version_id": "version", "pipeline_id": "pipeline", "name": "v"}
    kfp.pipelines["pipeline"] = {"pipeline_id": "pipeline", "name": PIPELINE.name}
    version = BackendVersion(
        backend="default",
        namespace="",
        digest=PIPELINE.digest,
        pipeline_id="pipeline",
        version_id="version",
        pipeline_name=PIPELINE.name,
        version_name="v",
    )
    database.transact(lambda s: specs.remember_version(s, version))
