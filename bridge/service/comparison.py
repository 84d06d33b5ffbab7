"""Two to five runs beside each other: what the database and their compiled pipelines tell of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlmodel import Session

from bridge.client.comparison import CompareBlob, CompareRow, CompareSection
from bridge.domain.comparing import UNKNOWN, Section, Unknown, compare
from bridge.domain.explain import ExplainedInput
from bridge.domain.lineage import MetricBlob, Run, Submission
from bridge.domain.redaction import redact_named, redact_uri
from bridge.lineage import mirror, reading, runs, specs, submissions
from bridge.lineage.datasets import inputs_of
from bridge.lineage.records import StoredSpec
from bridge.service.briefs import seconds_between
from bridge.spec.load import Pipeline
from bridge.spec.parts import (
    code_by_component,
    images_by_component,
    packages_by_component,
    resources_by_component,
)

MAX_RUNS = 5
MAX_METRICS = 2000
MAX_BLOBS = 20
_TITLES = {
    "outcome": "Outcome",
    "parameters": "Parameters",
    "metrics": "Metrics",
    "pipeline": "Pipeline",
    "images": "Images",
    "packages": "Packages",
    "data": "Data",
    "environment": "Environment",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What is stored of one of the runs."""

    run: Run
    submission: Submission | None
    inputs: Sequence[ExplainedInput]
    metrics: Mapping[str, float]
    blobs: Sequence[MetricBlob]
    spec: StoredSpec | None


def read_sides(session: Session, run_ids: Sequence[UUID]) -> list[Side | UUID]:
    """The runs in this order; an id alone where there is none of it."""
    return [_read_side(session, run_id) or run_id for run_id in run_ids]


def _read_side(session: Session, run_id: UUID) -> Side | None:
    run = runs.get_run(session, run_id)
    if run is None:
        return None
    key = run.submission_key
    return Side(
        run=run,
        submission=submissions.find_submission(session, key, lock=False) if key else None,
        inputs=inputs_of(session, run_id),
        metrics=reading.last_metrics_of(session, run_id, limit=MAX_METRICS),
        blobs=mirror.blobs_of(session, run_id),
        spec=specs.get_spec(session, run.project, run.pipeline.digest),
    )


def sections_of(sides: Sequence[Side], pipelines: Sequence[Pipeline | None]) -> list[Section]:
    """What differs between them, section by section; a pipeline is ``None`` where it is not known."""
    told: dict[str, list[Mapping[str, Any] | Unknown]] = {
        "outcome": [_outcome(side.run) for side in sides],
        "parameters": [side.run.arguments for side in sides],
        "metrics": [side.metrics for side in sides],
        "pipeline": [_pipeline(side.run, one) for side, one in zip(sides, pipelines, strict=True)],
        "images": [images_by_component(one) if one else UNKNOWN for one in pipelines],
        "packages": [packages_by_component(one) if one else UNKNOWN for one in pipelines],
        "data": [_data(side.inputs, _several(sides)) for side in sides],
        "environment": [_environment(side) for side in sides],
    }
    sections = [compare(name, values) for name, values in told.items()]
    return [_without_secrets(one) if one.name == "parameters" else one for one in sections]


def _without_secrets(section: Section) -> Section:
    """What is secret is hidden only now: whether it differs is told all the same."""
    rows = tuple(
        replace(row, values=tuple(redact_named({row.name: value})[row.name] for value in row.values))
        for row in section.rows
    )
    return replace(section, rows=rows)


def section_model(section: Section) -> CompareSection:
    """A section as the API shows it."""
    return CompareSection(
        name=section.name,
        title=_TITLES[section.name],
        differing=section.differing,
        total=section.total,
        truncated=section.truncated,
        rows=[
            CompareRow(
                name=row.name,
                values=list(row.values),
                known=list(row.known),
                differs=row.differs,
                change=row.change,
                relative=row.relative,
            )
            for row in section.rows
        ],
    )


def blob_rows(sides: Sequence[Side]) -> list[CompareBlob]:
    """The structured metrics by task, name and kind, at most 20; those that several runs have first."""
    found: dict[tuple[str, str, str], list[Any]] = {}
    for place, side in enumerate(sides):
        for blob in side.blobs:
            contents = found.setdefault((blob.task_path, blob.name, blob.kind), [None] * len(sides))
            contents[place] = blob.content
    ordered = sorted(found.items(), key=lambda item: sum(content is None for content in item[1]))
    return [
        CompareBlob(task_path=path, name=name, kind=kind, contents=contents)
        for (path, name, kind), contents in ordered[:MAX_BLOBS]
    ]


def unknown_of(sides: Sequence[Side], pipelines: Sequence[Pipeline | None]) -> list[str]:
    """What could not be told of the runs, in words."""
    told = []
    for side, pipeline in zip(sides, pipelines, strict=True):
        who = f"of {side.run.display_name} ({str(side.run.run_id)[:8]})"
        if pipeline is None:
            told.append(f"the compiled pipeline {who}, so its images and packages too")
        told += [
            f"the version of {redact_uri(item.uri)} {who}" for item in side.inputs if item.version is None
        ]
        if not side.run.shown_state.is_terminal:
            told.append(f"how it ends {who}: it goes on")
    return told


def _outcome(run: Run) -> dict[str, Any]:
    return {
        "state": run.shown_state.value,
        "good": run.is_good,
        "seconds": seconds_between(run.started_at, run.finished_at),
        "seconds queued": seconds_between(run.created_at, run.started_at),
        "gate": None if run.gate is None else run.gate.passed,
        "cause": run.error.kind if run.error else None,
    }


def _pipeline(run: Run, pipeline: Pipeline | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": run.pipeline.name,
        "digest": run.pipeline.digest,
        "version": run.pipeline.version_name,
        "alias": run.pipeline.alias,
    }
    if pipeline is None:
        return found
    found["kfp"] = pipeline.model.sdk_version
    found |= {f"{name}: code": digest for name, digest in code_by_component(pipeline).items()}
    found |= {f"{name}: resources": dict(told) for name, told in resources_by_component(pipeline).items()}
    return found


def _several(sides: Sequence[Side]) -> set[str]:
    """The names that stand for several inputs of any of the runs."""
    counts = [Counter(item.name for item in side.inputs) for side in sides]
    return {name for count in counts for name, number in count.items() if number > 1}


def _data(inputs: Sequence[ExplainedInput], several: Set[str]) -> dict[str, Any]:
    """By the input's name; those of one name that are several are told apart by their URIs. A signature that
    was renewed makes no other data."""
    found: dict[str, Any] = {}
    for item in inputs:
        uri = redact_uri(item.uri)
        name = f"{item.name}: {uri}" if item.name in several else item.name
        found[name] = uri
        found[f"{name}: version"] = UNKNOWN if item.version is None else item.version
        if item.rows is not None:
            found[f"{name}: rows"] = item.rows
        if item.bytes is not None:
            found[f"{name}: bytes"] = item.bytes
    return found


def _environment(side: Side) -> dict[str, Any]:
    run, submission = side.run, side.submission
    found: dict[str, Any] = {
        "backend": run.backend,
        "namespace": run.namespace,
        "scheduler": run.origin.scheduler,
        "deployment": run.origin.deployment,
        "team": run.origin.team,
    }
    asked = {
        "caching": submission.caching if submission else UNKNOWN,
        "service account": submission.service_account if submission else UNKNOWN,
        "pipeline root": submission.pipeline_root if submission else UNKNOWN,
        "gate": submission.gate if submission else UNKNOWN,
    }
    return found | asked
