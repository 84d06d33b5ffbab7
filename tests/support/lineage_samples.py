"""Submissions, runs and mirrors for tests of the lineage database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlmodel import Session

from bridge.domain.identity import Origin, kfp_run_id
from bridge.domain.lineage import (
    Artifact,
    ArtifactUse,
    Direction,
    InputVersion,
    Metric,
    MetricBlob,
    PipelineRef,
    Run,
    RunMirror,
    Submission,
    Task,
)
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.lineage.submissions import add_submission

T0 = datetime(2013, 1, 5, 2, 0, 0, 123456, tzinfo=UTC)
PIPELINE = PipelineRef(name="flight-delay", digest="d" * 64)
ETL = Origin(
    scheduler="airflow",
    dag_id="flights_etl",
    dag_run_id="scheduled__2013-01-05",
    task_id="write",
    try_number=1,
)
RETRAINING = Origin(
    scheduler="airflow",
    deployment="prod",
    team="ops",
    user="ada",
    dag_id="delay_model_retraining",
    dag_run_id="scheduled__2013-01-06",
    dag_run_start=T0,
    task_id="train",
    try_number=1,
    max_tries=2,
    logical_date=T0,
    asset_events=({"uri": "file:///data/flights", "source_dag_id": "flights_etl", "extra": {"rows": 3}},),
)


def partition(day: int, **facts: Any) -> InputVersion:
    """A partition of the flights data as an input."""
    return InputVersion(name="flights", uri=f"file:///data/flights/day={day:02}/flights.parquet", **facts)


def a_submission(**fields: Any) -> Submission:
    """A submission of the retraining task."""
    values: dict[str, Any] = {
        "key": uuid4(),
        "family": None,
        "backend": "local",
        "project": "default",
        "namespace": None,
        "pipeline": PIPELINE,
        "display_name": "flight-delay 2013-01-06",
        "experiment": "Default",
        "arguments": {"target": "arrival", "epochs": 3},
        "inputs": (),
        "origin": RETRAINING,
        "request_digest": "a" * 64,
        "created_at": T0,
    }
    return Submission(**(values | fields))


def a_run(submission: Submission | None = None, **fields: Any) -> Run:
    """The queued first run of a submission, or a run found on the backend."""
    values: dict[str, Any] = {
        "run_id": uuid4(),
        "kfp_run_id": uuid4(),
        "backend": "local",
        "project": "default",
        "namespace": None,
        "submission_key": None,
        "attempt": 1,
        "pipeline": PIPELINE,
        "display_name": "found",
        "experiment": "Default",
        "phase": RunPhase.QUEUED,
        "state": RuntimeState.UNSPECIFIED,
        "mirror": MirrorState.NONE,
        "version": 1,
        "created_at": T0,
    }
    if submission is not None:
        values |= {
            "submission_key": submission.key,
            "kfp_run_id": kfp_run_id(submission.key, fields.get("attempt", 1)),
            "backend": submission.backend,
            "project": submission.project,
            "pipeline": submission.pipeline,
            "display_name": submission.display_name,
            "created_at": submission.created_at,
            "arguments": submission.arguments,
            "origin": submission.origin,
        }
    return Run(**(values | fields))


def submit(session: Session, submission: Submission | None = None, **run_fields: Any) -> Run:
    """Store a submission with its first run; the run."""
    submission = submission or a_submission()
    run = a_run(submission, **run_fields)
    add_submission(session, submission, run)
    return run


def many_runs(session: Session, count: int, **submission_fields: Any) -> list[Run]:
    """Store that many submissions, a second apart; their runs, oldest first."""
    return [
        submit(session, a_submission(created_at=T0 + timedelta(seconds=number), **submission_fields))
        for number in range(count)
    ]


def a_task(path: str, **fields: Any) -> Task:
    """A task that succeeded."""
    values: dict[str, Any] = {
        "task_id": f"id-{path}",
        "name": path.rpartition(".")[2],
        "path": path,
        "parent_task_id": None,
        "state": RuntimeState.SUCCEEDED,
        "kind": "container",
        "created_at": T0,
        "started_at": T0 + timedelta(seconds=1),
        "finished_at": T0 + timedelta(seconds=9),
        "outputs": {"rows": 3},
    }
    return Task(**(values | fields))


def use(path: str, key: str, direction: Direction = Direction.OUTPUT, index: int = 0) -> ArtifactUse:
    """An edge between an artifact and the task at a path."""
    return ArtifactUse(task_id=f"id-{path}", task_path=path, key=key, direction=direction, index=index)


def a_mirror(number: int = 1, *, auc: float = 0.71, data_uri: str | None = None) -> RunMirror:
    """What a small training run leaves: an importer, a training task, an evaluation, a model, metrics.

    ``number`` tells the artifacts of several runs apart.
    """
    tasks = [a_task("train"), a_task("evaluate", created_at=T0 + timedelta(seconds=10))]
    artifacts = [
        Artifact(
            backend_artifact_id=f"{number}01",
            type="system.Model",
            uri=f"file:///artifacts/{number}/train/model",
            name="model",
            digest="b" * 64,
            metadata={"framework": "sklearn"},
            created_at=T0,
            uses=(use("train", "model"), use("evaluate", "model", Direction.INPUT)),
        )
    ]
    if data_uri is not None:
        tasks.insert(0, a_task("importer", kind="importer"))
        artifacts.append(
            Artifact(
                backend_artifact_id=f"{number}02",
                type="system.Dataset",
                uri=data_uri,
                created_at=T0,
                uses=(use("importer", "artifact"), use("train", "data", Direction.INPUT)),
            )
        )
    return RunMirror(
        tasks=tuple(tasks),
        artifacts=tuple(artifacts),
        metrics=(
            Metric(task_path="evaluate", name="auc", value=auc),
            Metric(task_path="evaluate", name="accuracy", value=0.8),
        ),
        blobs=(
            MetricBlob(
                task_path="evaluate", name="roc", kind="roc", content={"tpr": [0.0, 1.0], "fpr": [0.0, 1.0]}
            ),
        ),
    )


def end(run: Run, **fields: Any) -> dict[str, Any]:
    """The changes that end a run well, mirrored and judged."""
    return {
        "phase": RunPhase.ENDED,
        "state": RuntimeState.SUCCEEDED,
        "started_at": run.created_at,
        "finished_at": run.created_at + timedelta(seconds=60),
        "settled_at": run.created_at + timedelta(seconds=61),
        **fields,
    }


def without_ids(artifacts: list[Artifact]) -> list[Artifact]:
    """Artifacts without the ids that storing gives them."""
    return [replace(artifact, artifact_id=None) for artifact in artifacts]


def some_uuid(number: int) -> UUID:
    """A UUID that is easy to tell from others."""
    return UUID(int=number)
