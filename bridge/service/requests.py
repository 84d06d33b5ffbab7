"""What a request for a run holds, checked: each function refuses with the problem that names the place."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from bridge.client.models import SubmitRequest
from bridge.domain.identity import request_digest
from bridge.domain.lineage import InputVersion
from bridge.service.convert import input_of
from bridge.service.gates import GateError, compile_gate
from bridge.service.problems import ProblemError
from bridge.spec.arguments import apply_inputs, as_declared, check_arguments
from bridge.spec.errors import ArgumentErrors
from bridge.spec.load import Pipeline


def digest_of(request: SubmitRequest) -> str:
    """What tells one request's body from another's; without its origin. Raises ``ProblemError``."""
    body = request.model_dump(mode="json", exclude={"origin"})
    if not request.skip_if_unchanged:
        # So that a body without it has the digest that it had before there was such a field.
        del body["skip_if_unchanged"]
    if not request.text_arguments:
        del body["text_arguments"]
    if request.pipeline is not None and request.pipeline.alias is None:
        del body["pipeline"]["alias"]
    place = _first_nul(body)
    if place is not None:
        raise ProblemError(
            "invalid-request", f"{place} holds a NUL character", errors=[(place, "a NUL character")]
        )
    try:
        # Pydantic's JSON mode writes NaN as null; the arguments as they came do not hide it.
        return request_digest(body | {"arguments": request.arguments})
    except ValueError as error:
        text = "the request holds NaN or an infinite number, which JSON does not have"
        raise ProblemError("invalid-request", text, errors=[("/arguments", text)]) from error


def _first_nul(value: Any, pointer: str = "") -> str | None:
    """Where the value holds a NUL character, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return (pointer or "/") if "\x00" in value else None
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        if any("\x00" in key for key in value):
            return pointer or "/"
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    found = (_first_nul(item, f"{pointer}/{name}") for name, item in items)
    return next((place for place in found if place is not None), None)


def check_gate(expression: str | None, pointer: str = "/gate") -> None:
    """Raises ``ProblemError`` for a gate that does not compile; ``pointer`` is its place in the request."""
    if expression is None:
        return
    try:
        compile_gate(expression)
    except GateError as error:
        raise ProblemError("invalid-gate", str(error), errors=[(pointer, str(error))]) from error


def inputs_of(request: SubmitRequest) -> tuple[InputVersion, ...]:
    """The named inputs, their URIs normalised. Raises ``ProblemError``."""
    inputs: list[InputVersion] = []
    errors: list[tuple[str, str]] = []
    for index, model in enumerate(request.inputs):
        try:
            inputs.append(input_of(model))
        except ValueError as error:
            errors.append((f"/inputs/{index}/uri", str(error)))
    if errors:
        raise ProblemError("invalid-request", errors[0][1], errors=errors)
    return tuple(inputs)


def arguments_of(
    pipeline: Pipeline, request: SubmitRequest, inputs: tuple[InputVersion, ...]
) -> dict[str, Any]:
    """The arguments as the pipeline declares them, inputs handed over. Raises ``ProblemError``."""
    # An argument wins over an input of its name, which is then recorded and not handed over.
    handed = [item for item in inputs if item.name not in request.arguments]
    given = as_declared(pipeline, request.arguments, request.text_arguments)
    try:
        return check_arguments(pipeline, apply_inputs(pipeline, given, handed))
    except ArgumentErrors as error:
        raise ProblemError("invalid-arguments", " ".join(error.problems), errors=error.errors) from error


def display_name_of(pipeline: Pipeline, request: SubmitRequest) -> str:
    """The run's name for people, where the request gives none."""
    origin = request.origin
    if origin.dag_run_id:
        return f"{pipeline.name} {origin.dag_run_id}"[:255]
    return f"{pipeline.name} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}"
