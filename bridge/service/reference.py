"""The page ``docs/api-reference.md``, made from the OpenAPI document.

python -m bridge.service.reference docs/api-reference.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bridge.lineage.database import Database
from bridge.service.app import API_PREFIX, create_app
from bridge.service.settings import ServiceSettings

_HEAD = """# API reference

Made from the OpenAPI document (`/api/v1/openapi.json`) by
`python -m bridge.service.reference docs/api-reference.md`; what the routes are for and how they go together
stands in [api.md](api.md). Any operation may answer with a problem ([which](api.md#problems)).
"""
_MOST_ITEMS = 1


def document() -> dict[str, Any]:
    """The OpenAPI document of the service as it is installed."""
    # Nothing is opened: the document needs no database.
    database = Database("sqlite:///reference.db")
    try:
        return create_app(ServiceSettings(), database).openapi()
    finally:
        database.close()


def reference(openapi: Mapping[str, Any]) -> str:
    """The page."""
    schemas = openapi["components"]["schemas"]
    parts = [_HEAD]
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            parts.append("\n".join(_operation(method.upper(), path, operation)))
    parts.append("## Messages\n")
    messages = [name for name in sorted(schemas) if schemas[name].get("properties")]
    parts += ["\n".join(_message(name, schemas[name])) for name in messages]
    return "\n".join(parts)


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {method} {path.removeprefix(API_PREFIX)}\n"
    yield _one_line(operation.get("description") or operation.get("summary", "")) + "\n"
    parameters = operation.get("parameters", [])
    if parameters:
        yield "| Parameter | In | Type | Meaning |\n|---|---|---|---|"
        for one in parameters:
            needed = " (required)" if one.get("required") and one["in"] != "path" else ""
            meaning = _one_line(one.get("description") or one["schema"].get("description", ""))
            yield f"| `{one['name']}` | {one['in']}{needed} | {_type(one['schema'])} | {meaning} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if body is not None:
        yield f"Body: {_type(body['schema'])}\n"
        yield from _example(body)
    for status, answer in operation["responses"].items():
        if status != "default":
            yield from _answer(status, answer)


def _answer(status: str, answer: Mapping[str, Any]) -> Iterator[str]:
    kinds = answer.get("content", {})
    shapes = [
        _type(content.get("schema", {})) if kind == "application/json" else f"`{kind}`"
        for kind, content in kinds.items()
    ]
    yield f"Answer {status}{': ' if shapes else ''}{', '.join(shapes)}\n"
    if "application/json" in kinds:
        yield from _example(kinds["application/json"])


def _example(content: Mapping[str, Any]) -> Iterator[str]:
    yield f"```json\n{json.dumps(_without_nothing(content['example']), indent=2, ensure_ascii=False)}\n```\n"


def _without_nothing(value: Any) -> Any:
    """The example without fields that are null: a page is read by people."""
    if isinstance(value, dict):
        return {name: _without_nothing(one) for name, one in value.items() if one not in (None, [], {})}
    return [_without_nothing(one) for one in value[:_MOST_ITEMS]] if isinstance(value, list) else value


def _message(name: str, schema: Mapping[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    if "description" in schema:
        yield _one_line(schema["description"]) + "\n"
    yield "| Field | Type | Meaning |\n|---|---|---|"
    required = schema.get("required", [])
    for field, inner in schema["properties"].items():
        told = "" if field in required else ", optional"
        yield f"| `{field}` | {_type(inner)}{told} | {_one_line(inner.get('description', ''))} |"
    yield ""


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name != "JsonValue" else "any JSON"
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return " or ".join(_type(one) for one in schema[choice] if one.get("type") != "null")
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type", "any"))


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(document()), encoding="utf-8")
