"""The OpenAPI document: an example for everything, and the page that is made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from bridge.service.reference import document, reference

PAGE = Path(__file__).parents[3] / "docs" / "api-reference.md"


@pytest.fixture(scope="module")
def openapi() -> dict[str, Any]:
    return document()


def contents(openapi: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every JSON body and every good JSON answer, by its place."""
    found = []
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            parts = {"body": operation.get("requestBody", {}), **operation["responses"]}
            for name, part in parts.items():
                content = part.get("content", {}).get("application/json")
                if content is not None and name != "default":
                    found.append((f"{method.upper()} {path} {name}", content))
    return found


def test_every_body_and_every_answer_has_an_example_that_fits_its_schema(openapi: dict[str, Any]) -> None:
    assert len(contents(openapi)) >= 40
    for place, content in contents(openapi):
        schema = {**content.get("schema", {}), "components": openapi["components"]}
        validator = jsonschema.Draft202012Validator(schema)
        problems = validator.iter_errors(content["example"])
        assert [f"{one.json_path}: {one.message}" for one in problems] == [], place
        assert content["example"] is not None, place


def test_every_operation_may_answer_with_a_problem_and_says_what_it_does(openapi: dict[str, Any]) -> None:
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            assert "application/problem+json" in operation["responses"]["default"]["content"], (method, path)
            assert operation["description"], (method, path)
    assert "HTTPValidationError" not in json.dumps(openapi)


def test_the_page_is_what_is_made_of_it_now(openapi: dict[str, Any]) -> None:
    made = reference(openapi)
    assert PAGE.read_text(encoding="utf-8") == made, (
        "run python -m bridge.service.reference docs/api-reference.md"
    )
