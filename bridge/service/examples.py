"""An example for every body and every answer of the OpenAPI document, made from its schemas.

What a field usually holds is told here by its name; the shape always comes from the schema, so that a new
route or field has an example by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_RUN = "6e1f1f3a-52b4-4f0e-9a3c-0d7c1f1b2a10"
_ARTIFACT = "9c0e4a52-8d5f-5a0b-b7a0-6a5a1f0f7c21"
_DIGEST = "3b1d7a2f9c64e8500c7f1a6d2e9b84f3a5c6d7e8f90123456789abcdef012345"
_NOON = "2026-01-31T02:14:05.120000Z"
_URI = "s3://lake/flights/day=2026-01-30/flights.parquet"
_MOST_DEPTH = 8
_STRINGS = {"date-time": _NOON, "uuid": _RUN}
_KINDS: Mapping[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "null": type(None),
}

# By the name of the schema and the field, or by the name of the field alone.
_VALUES: Mapping[str, Any] = {
    "RunModel.state": "SUCCEEDED",
    "RunModel.phase": "ENDED",
    "RunModel.mirror": "COMPLETE",
    "RunModel.error": None,
    "RunModel.waiting": None,
    "RunModel.over": True,
    "RunModel.good": True,
    "RunModel.finished_at": _NOON,
    "RunModel.settled_at": _NOON,
    "TaskModel.name": "train",
    "TaskModel.state": "SUCCEEDED",
    "TaskModel.kind": "container",
    "TaskModel.error": None,
    "TaskModel.task_id": "train-1",
    "ArtifactModel.type": "system.Model",
    "ArtifactModel.uri": "s3://mlpipeline/v2/artifacts/flight-delay/train/model",
    "ArtifactModel.name": "model",
    "ArtifactModel.content": "available",
    "ArtifactModel.content_error": None,
    "MetricModel.name": "auc",
    "MetricBlobModel.kind": "roc",
    "MetricBlobModel.name": "roc",
    "JobModel.name": "flights_etl.write",
    "JobModel.type": "TASK",
    "JobRunModel.job": "flights_etl.write",
    "JobRunModel.state": "COMPLETE",
    "PipelineModel.name": "flight-delay",
    "PipelineDetailModel.name": "flight-delay",
    "PipelineAliasModel.name": "flight-delay",
    "PipelineVersionRef.name": "flight-delay",
    "EventModel.type": "run.settled",
    "QuarantineModel.work": "mirror",
    "QuarantineModel.reason": "KfpBadAnswer: the metadata of this run makes no sense",
    "Problem.type": "urn:kfbridge:problem:not-found",
    "Problem.title": "Not found",
    "Problem.status": 404,
    "Problem.retryable": False,
    "Problem.errors": [],
    "WebhookModel.url": "https://hooks.example.org/runs",
    "WebhookRequest.url": "https://hooks.example.org/runs",
    "WebhookChange.url": "https://hooks.example.org/runs",
    "InputModel.name": "flights",
    "InputModel.version_kind": "sha256",
    "BackendStatus.name": "default",
    "BackendStatus.last_error": None,
    "BackendStatus.stale_since": None,
    "BackendStatus.reachable": True,
    "EmissionStatus.url": "http://marquez:5000/api/v1/lineage",
    "EmissionStatus.last_error": None,
    "EmissionStatus.failing_since": None,
    "StatusModel.read_only": None,
    "StatusModel.version": "0.1.0",
    "StatusModel.database": "postgresql",
    "SubmitRequest.spec": None,
    "SubmitRequest.text_arguments": [],
    "alias": "prod",
    "arguments": {"epochs": 3},
    "artifact_id": _ARTIFACT,
    "at": _NOON,
    "backend": "default",
    "bytes": 1_048_576,
    "dag_id": "retraining",
    "dag_run_id": "scheduled__2026-01-31T02:00:00+00:00",
    "dataset_id": "1f7a4b7e-1f5d-5f0a-8d2b-0b8c4d6e7f80",
    "deployment": "prod",
    "detail": "there is no run 6e1f1f3a-52b4-4f0e-9a3c-0d7c1f1b2a10",
    "digest": _DIGEST,
    "display_name": "flight-delay 2026-01-31",
    "experiment": "Default",
    "gate": None,
    "job": "retraining.train",
    "key": "evaluate.auc",
    "kfp_run_id": "0b2c7a54-6a0c-5b1e-9f57-3f6c5a1d2e43",
    "labels": {"team": "ops"},
    "namespace": "prod",
    "next_cursor": None,
    "number": 4711,
    "path": "train",
    "pod_name": "flight-delay-abcde-train",
    "project": "default",
    "root_job": "retraining",
    "root_namespace": "prod",
    "root_run_id": "019ca71f-b97b-754f-abe2-dfb7a5183955",
    "rows": 842,
    "run": _RUN,
    "run_id": _RUN,
    "scheduler": "airflow",
    "spec": "components: …",
    "submission_key": "5d6a6d0e-3c6f-5a52-9a4f-8f2f0a1f7b90",
    "task": "train",
    "task_id": "train",
    "task_path": "evaluate",
    "team": "ops",
    "types": ["run.settled", "run.lost"],
    "uri": _URI,
    "url": "https://airflow.example.org/dags/retraining",
    "user": "ada",
    "value": 0.71,
    "message": "ValueError: no flights on that day",
    "name": "flight-delay",
    "reason": "evaluate.auc 0.71 >= 0.70",
    "version_name": "2026-01-31",
    "version": "sha256:" + _DIGEST,
    "webhook_id": "c0ffee00-1d0e-4a8b-9a57-2c1f5a7e9b11",
}
_EVENT = {
    "eventType": "COMPLETE",
    "eventTime": _NOON,
    "producer": "https://github.com/apache/airflow",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    "run": {"runId": "019ca71f-b900-7c4d-b093-9edf2c465792", "facets": {}},
    "job": {"namespace": "prod", "name": "flights_etl.write", "facets": {}},
    "inputs": [],
    "outputs": [{"namespace": "s3://lake", "name": "flights/day=2026-01-30/flights.parquet", "facets": {}}],
}
# Bodies and answers without a schema of their own.
_WHOLE: Mapping[tuple[str, str], Any] = {
    ("POST /api/v1/lineage", "body"): _EVENT,
    ("POST /api/v1/lineage", "answer"): {"accepted": 1},
    ("POST /api/v1/webhooks/{webhook_id}:redeliver", "answer"): {"redelivered": 3},
    ("POST /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}:redeliver", "answer"): {"redelivered": 1},
    ("GET /livez", "answer"): {"status": "alive"},
    ("GET /readyz", "answer"): {"status": "ready"},
}


def add_examples(document: dict[str, Any]) -> None:
    """Put an example into each JSON body and each JSON answer of the document that has none."""
    schemas = document["components"]["schemas"]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            route = f"{method.upper()} {path}"
            body = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if body is not None:
                _complete(body, _WHOLE.get((route, "body")), schemas)
            for status, answer in operation["responses"].items():
                content = answer.get("content", {}).get("application/json")
                if content is not None and status.startswith("2"):
                    _complete(content, _WHOLE.get((route, "answer")), schemas)


def _complete(content: dict[str, Any], known: Any, schemas: Mapping[str, Any]) -> None:
    if "example" not in content:
        content["example"] = known if known is not None else example_of(content.get("schema", {}), schemas)


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str = "", depth: int = 0) -> Any:
    """A value that the schema allows, with what its fields usually hold."""
    if depth > _MOST_DEPTH:
        return None
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return example_of(schemas[name], schemas, name, depth + 1)
    if "const" in schema or "enum" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            options = [one for one in schema[choice] if one.get("type") != "null"]
            return example_of(options[0], schemas, name, depth + 1) if options else None
    return _plain(schema, schemas, name, depth)


def _plain(schema: Mapping[str, Any], schemas: Mapping[str, Any], name: str, depth: int) -> Any:
    kind = schema.get("type")
    if kind == "object":
        fields = schema.get("properties", {})
        return {field: _field(name, field, inner, schemas, depth) for field, inner in fields.items()}
    if kind == "array":
        item = example_of(schema.get("items", {}), schemas, name, depth + 1)
        return [] if item is None else [item]
    if kind == "string":
        return _STRINGS.get(schema.get("format", ""), "text")
    if kind == "integer":
        return int(schema.get("minimum", 1))
    return {"number": 1.5, "boolean": True}.get(str(kind))


def _field(name: str, field: str, schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> Any:
    for known in (f"{name}.{field}", field):
        if known in _VALUES and allows(schema, _VALUES[known], schemas):
            return _VALUES[known]
    if "default" in schema and not (schema["default"] is None and _is_object(schema)):
        return schema["default"]
    return example_of(schema, schemas, "", depth + 1)


def allows(schema: Mapping[str, Any], value: Any, schemas: Mapping[str, Any]) -> bool:
    """Whether a value is of a kind that the schema has, as far as JSON's types go."""
    if "$ref" in schema:
        return allows(schemas[schema["$ref"].rpartition("/")[2]], value, schemas)
    options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if options:
        return any(allows(one, value, schemas) for one in options)
    if "enum" in schema or "const" in schema:
        return value in schema.get("enum", [schema.get("const")])
    return _is_kind(schema, value)


def _is_kind(schema: Mapping[str, Any], value: Any) -> bool:
    kind = schema.get("type")
    if kind is None:
        return True
    if kind == "object":
        return isinstance(value, dict) and "properties" not in schema
    if schema.get("format") == "uuid" and not (isinstance(value, str) and len(value) == len(_RUN)):
        return False
    return isinstance(value, _KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_object(schema: Mapping[str, Any]) -> bool:
    return any("$ref" in one for one in [schema, *schema.get("anyOf", ())])
