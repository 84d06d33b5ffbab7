"""The OpenAPI document: what FastAPI makes of the routes, and what it cannot know of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from bridge.client.models import Problem
from bridge.service.examples import add_examples
from bridge.service.problems import MEDIA_TYPE

_METHODS = ("get", "put", "post", "delete", "patch")
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_PROBLEM = {
    "description": "A problem (RFC 9457): `type` says which, `retryable` whether the same may work later.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """How a route that reads its body by itself is described in the OpenAPI document."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def any_content(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """How an answer that is no JSON is described."""
    return {200: {"description": description, "content": {media_type: {}}}}


def describe(app: FastAPI, bodies: Sequence[type[BaseModel]]) -> None:
    """Complete the application's OpenAPI document: the messages that ``body_of`` refers to, and the problem
    that any operation may answer with."""
    make = app.openapi
    models: list[type[BaseModel]] = [*bodies, Problem]

    def openapi() -> dict[str, Any]:
        document = make()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        _, found = models_json_schema(
            [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
        )
        for name, schema in found["$defs"].items():
            schemas.setdefault(name, schema)
        for name in _FRAMEWORKS_OWN:
            schemas.pop(name, None)
        for operation in _operations(document):
            # The framework's own refusal never leaves the service: it is told as a problem.
            operation["responses"].pop("422", None)
            operation["responses"].setdefault("default", deepcopy(_PROBLEM))
        add_examples(document)
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from (operation for method, operation in item.items() if method in _METHODS)
