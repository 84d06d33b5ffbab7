"""KFP's own descriptions of its API, and whether answers fit them."""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, Literal

import jsonschema

Metadata = Literal["mlmd", "native"]

_SHARED = Path(__file__).resolve().parents[3] / "shared"
_FILES: dict[Metadata, tuple[str, str]] = {
    "mlmd": ("KFBRIDGE_KFP_SWAGGER", "kfp-v2beta1.swagger.json"),
    "native": ("KFBRIDGE_KFP_NATIVE_SWAGGER", "kfp-v2beta1-native-artifacts.swagger.json"),
}
# KFP serves these beside its description.
_UNDESCRIBED = ("/apis/v1beta1/healthz", "/apis/v1alpha1/", "/ml_metadata.", "/artifacts/")


def swagger_file(metadata: Metadata = "mlmd") -> Path | None:
    """The description that goes with a shape of metadata: that of published KFP, or the coming one. ``None``
    where it is not on this machine."""
    variable, name = _FILES[metadata]
    path = Path(os.environ.get(variable, _SHARED / name))
    return path if path.is_file() else None


@cache
def swagger(metadata: Metadata = "mlmd") -> dict[str, Any]:
    """The document of ``swagger_file``, which has to be there."""
    path = swagger_file(metadata)
    assert path is not None, "ask swagger_file first"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


@cache
def _closed(metadata: Metadata) -> dict[str, Any]:
    """The document with every object closed: a field that KFP does not know is an error."""
    document: dict[str, Any] = json.loads(json.dumps(swagger(metadata)))
    for name, definition in document["definitions"].items():
        if definition.get("properties") and name != "protobufAny":
            definition["additionalProperties"] = False
    # The gateway adds this field to the status that the description tells of.
    document["definitions"]["googleRpcStatus"]["properties"] |= {
        name: {"type": "string"} for name in ("error", "error_message", "error_details")
    }
    return document


def check_answer(method: str, path: str, status: int, body: bytes, metadata: Metadata = "mlmd") -> None:
    """Whether an answer is one that the description has. Raises ``AssertionError`` that says why it is not.

    Errors have to be a google.rpc.Status whose code fits the HTTP status. Does nothing where the description
    is not on this machine.
    """
    path = path.partition("?")[0]
    if swagger_file(metadata) is None or path == "/" or path.startswith(_UNDESCRIBED):
        return
    operation = _operation(method, path, metadata)
    assert operation is not None or status in (404, 405), (
        f"{method} {path} is not described, but gave {status}"
    )
    found = json.loads(body)
    responses = operation["responses"] if operation else {}
    schema = responses.get(str(status), responses.get("default", {"schema": {"$ref": _STATUS}})).get("schema")
    if schema is None or status >= 400:
        schema = {"$ref": _STATUS}
    error = next(_validator(json.dumps(schema), metadata).iter_errors(found), None)
    assert error is None, f"{method} {path} gave {status}: {error.message}, in {body[:2000]!r}"
    if status >= 400:
        assert found["code"] in _CODES.get(status, ()), f"{method} {path} gave {status} with {found['code']}"
        assert found["message"], f"{method} {path} gave {status} without a message"


_STATUS = "#/definitions/googleRpcStatus"
# gRPC codes under the HTTP status that the gateway gives them.
_CODES = {
    400: (3, 9, 11),
    401: (16,),
    403: (7,),
    404: (5,),
    405: (12,),
    409: (6, 10),
    413: (3,),
    500: (13,),
    501: (12,),
}


@cache
def _validator(schema: str, metadata: Metadata) -> Any:
    # Not jsonschema.validate, which checks the whole description each time.
    return jsonschema.Draft4Validator({**json.loads(schema), "definitions": _closed(metadata)["definitions"]})


def _operation(method: str, path: str, metadata: Metadata) -> dict[str, Any] | None:
    for pattern, item in _patterns(metadata):
        if pattern.fullmatch(path) and method.lower() in item:
            operation: dict[str, Any] = item[method.lower()]
            return operation
    return None


@cache
def _patterns(metadata: Metadata) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
    paths = swagger(metadata)["paths"]
    # What is spelled out comes before what is a parameter: /pipelines/upload is no pipeline's id.
    return [
        (re.compile(re.sub(r"\\\{.*?\\\}", "[^/:]+", re.escape(path))), paths[path])
        for path in sorted(paths, key=lambda path: (path.count("{"), path))
    ]
