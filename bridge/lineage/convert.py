"""From domain objects to rows and back. JSON forms leave out what is absent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from bridge.domain.identity import LineageParent, Origin
from bridge.domain.lineage import (
    GateVerdict,
    InputVersion,
    OnClear,
    OnRetry,
    PipelineRef,
    Run,
    RunError,
    Submission,
)
from bridge.domain.states import MirrorState, RunPhase, RuntimeState
from bridge.domain.uris import normalise_uri
from bridge.lineage.words import words_of

_ORIGIN_TIMES = ("dag_run_start", "logical_date")
_ORIGIN_DEFAULTS = {field.name: field.default for field in fields(Origin)}
_KEY_BYTES = 1024


def bounded_key(text: str) -> str:
    """The text as part of a key: one that is too long for an index ends in the digest of the whole."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= _KEY_BYTES:
        return text
    return f"{raw[: _KEY_BYTES - 80].decode('utf-8', 'ignore')}#sha256:{sha256(raw).hexdigest()}"


def uri_key(uri: str | None) -> str | None:
    """The key that joins artifacts and datasets: the normalised URI; ``None`` for what is no URI."""
    if uri is None:
        return None
    try:
        return bounded_key(normalise_uri(uri))
    except ValueError:
        return None


def origin_to_json(origin: Origin) -> dict[str, Any]:
    """Only what differs from an unknown origin."""
    record: dict[str, Any] = {}
    for name, default in _ORIGIN_DEFAULTS.items():
        value = getattr(origin, name)
        if name == "asset_events":
            if value:
                record[name] = [dict(event) for event in value]
        elif name == "lineage":
            if value is not None:
                record[name] = {key: str(part) for key, part in asdict(value).items()}
        elif value != default:
            record[name] = value.isoformat() if isinstance(value, datetime) else value
    return record


def origin_from_json(record: Mapping[str, Any] | None) -> Origin:
    """The origin that ``origin_to_json`` wrote down."""
    if not record:
        return Origin()
    known = {name: value for name, value in record.items() if name in _ORIGIN_DEFAULTS}
    for name in _ORIGIN_TIMES:
        if known.get(name):
            known[name] = datetime.fromisoformat(known[name])
    known["asset_events"] = tuple(known.get("asset_events", ()))
    if known.get("lineage"):
        parent = known["lineage"]
        ids = {name: UUID(parent[name]) for name in ("run_id", "root_run_id")}
        known["lineage"] = LineageParent(**{**parent, **ids})
    return Origin(**known)


def error_to_json(error: RunError | None) -> dict[str, Any] | None:
    """An error as JSON, ``None`` for none."""
    if error is None:
        return None
    return {
        "message": error.message,
        "code": error.code,
        "task": error.task,
        "log_tail": list(error.log_tail),
        "kind": error.kind,
    }


def error_from_json(record: Mapping[str, Any] | None) -> RunError | None:
    """The error that ``error_to_json`` wrote down."""
    if record is None:
        return None
    return RunError(
        message=record["message"],
        code=record.get("code"),
        task=record.get("task"),
        log_tail=tuple(record.get("log_tail", ())),
        kind=record.get("kind"),
    )


def gate_to_json(gate: GateVerdict | None) -> dict[str, Any] | None:
    """A verdict as JSON, ``None`` for none."""
    if gate is None:
        return None
    return {
        "expression": gate.expression,
        "passed": gate.passed,
        "numbers": dict(gate.numbers),
        "reason": gate.reason,
        "last_good_run": str(gate.last_good_run) if gate.last_good_run else None,
    }


def gate_from_json(record: Mapping[str, Any] | None) -> GateVerdict | None:
    """The verdict that ``gate_to_json`` wrote down."""
    if record is None:
        return None
    last_good = record.get("last_good_run")
    return GateVerdict(
        expression=record["expression"],
        passed=record["passed"],
        numbers=record["numbers"],
        reason=record["reason"],
        last_good_run=UUID(last_good) if last_good else None,
    )


def _input_to_json(item: InputVersion) -> dict[str, Any]:
    record: dict[str, Any] = {"name": item.name, "uri": item.uri}
    for name in ("version", "version_kind", "rows", "bytes"):
        if getattr(item, name) is not None:
            record[name] = getattr(item, name)
    if item.producer is not None:
        record["producer"] = origin_to_json(item.producer)
    return record


def _input_from_json(record: Mapping[str, Any]) -> InputVersion:
    producer = record.get("producer")
    return InputVersion(
        name=record["name"],
        uri=record["uri"],
        version=record.get("version"),
        version_kind=record.get("version_kind"),
        rows=record.get("rows"),
        bytes=record.get("bytes"),
        producer=None if producer is None else origin_from_json(producer),
    )


def run_to_row(run: Run) -> dict[str, Any]:
    """The columns of ``runs``, the derived ones included."""
    return {
        "run_id": run.run_id,
        "kfp_run_id": run.kfp_run_id,
        "backend": run.backend,
        "project": run.project,
        "namespace": run.namespace,
        "submission_key": run.submission_key,
        "attempt": run.attempt,
        "pipeline_name": run.pipeline.name,
        "pipeline_digest": run.pipeline.digest,
        "version_name": run.pipeline.version_name,
        "alias": run.pipeline.alias,
        "display_name": run.display_name,
        "experiment": run.experiment,
        "phase": run.phase.value,
        "state": run.state.value,
        "shown_state": run.shown_state.value,
        "good": run.is_good,
        "mirror": run.mirror.value,
        "version": run.version,
        "created_at": run.created_at,
        "submitted_at": run.submitted_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "observed_at": run.observed_at,
        "settled_at": run.settled_at,
        "after_run": run.after_run,
        "queued_at": run.queued_at,
        "placed_at": run.placed_at,
        "cancel_requested_at": run.cancel_requested_at,
        "revivals": run.revivals,
        "error": error_to_json(run.error),
        "gate": gate_to_json(run.gate),
        "arguments": dict(run.arguments),
        "labels": dict(run.labels),
        "origin": origin_to_json(run.origin),
        "scheduler": run.origin.scheduler,
        "dag_id": run.origin.dag_id,
        "dag_run_id": run.origin.dag_run_id,
        "task_id": run.origin.task_id,
        "map_index": run.origin.map_index,
        "parent_ol_run_id": run.origin.lineage.run_id if run.origin.lineage else None,
        "words": words_of(run),
    }


def run_from_row(row: RowMapping) -> Run:
    """The run that a row of ``runs`` holds."""
    return Run(
        run_id=row["run_id"],
        kfp_run_id=row["kfp_run_id"],
        backend=row["backend"],
        project=row["project"],
        namespace=row["namespace"],
        submission_key=row["submission_key"],
        attempt=row["attempt"],
        pipeline=_pipeline_from_row(row),
        display_name=row["display_name"],
        experiment=row["experiment"],
        phase=RunPhase(row["phase"]),
        state=RuntimeState(row["state"]),
        mirror=MirrorState(row["mirror"]),
        version=row["version"],
        created_at=row["created_at"],
        submitted_at=row["submitted_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        observed_at=row["observed_at"],
        settled_at=row["settled_at"],
        after_run=row["after_run"],
        queued_at=row["queued_at"],
        placed_at=row["placed_at"],
        cancel_requested_at=row["cancel_requested_at"],
        revivals=row["revivals"],
        error=error_from_json(row["error"]),
        gate=gate_from_json(row["gate"]),
        arguments=row["arguments"],
        labels=row["labels"],
        origin=origin_from_json(row["origin"]),
    )


def _pipeline_from_row(row: RowMapping) -> PipelineRef:
    return PipelineRef(
        name=row["pipeline_name"],
        digest=row["pipeline_digest"],
        version_name=row["version_name"],
        alias=row["alias"],
    )


def submission_to_row(submission: Submission) -> dict[str, Any]:
    """The columns of ``submissions``."""
    return {
        "key": submission.key,
        "family": submission.family,
        "backend": submission.backend,
        "project": submission.project,
        "namespace": submission.namespace,
        "pipeline_name": submission.pipeline.name,
        "pipeline_digest": submission.pipeline.digest,
        "version_name": submission.pipeline.version_name,
        "alias": submission.pipeline.alias,
        "display_name": submission.display_name,
        "experiment": submission.experiment,
        "arguments": dict(submission.arguments),
        "inputs": [_input_to_json(item) for item in submission.inputs],
        "origin": origin_to_json(submission.origin),
        "request_digest": submission.request_digest,
        "created_at": submission.created_at,
        "service_account": submission.service_account,
        "pipeline_root": submission.pipeline_root,
        "caching": submission.caching,
        "labels": dict(submission.labels),
        "on_retry": submission.on_retry.value,
        "on_clear": submission.on_clear.value,
        "gate": submission.gate,
        "try_number": submission.try_number,
        "current_run": submission.current_run,
    }


def submission_from_row(row: RowMapping) -> Submission:
    """The submission that a row of ``submissions`` holds."""
    return Submission(
        key=row["key"],
        family=row["family"],
        backend=row["backend"],
        project=row["project"],
        namespace=row["namespace"],
        pipeline=_pipeline_from_row(row),
        display_name=row["display_name"],
        experiment=row["experiment"],
        arguments=row["arguments"],
        inputs=tuple(_input_from_json(item) for item in row["inputs"]),
        origin=origin_from_json(row["origin"]),
        request_digest=row["request_digest"],
        created_at=row["created_at"],
        service_account=row["service_account"],
        pipeline_root=row["pipeline_root"],
        caching=row["caching"],
        labels=row["labels"],
        on_retry=OnRetry(row["on_retry"]),
        on_clear=OnClear(row["on_clear"]),
        gate=row["gate"],
        try_number=row["try_number"],
        current_run=row["current_run"],
    )
