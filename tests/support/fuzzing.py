"""Sends an API what its description allows, and what it does not, and looks for answers that are wrong."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CHECKS = ("not_a_server_error", "content_type_conformance", "response_schema_conformance")
_SEED = 20_260_101
_MORE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Fuzzed:
    """How it went: ``passed``, what schemathesis said, with a curl command for each failure, and every
    answer: the path, the status and the body."""

    passed: bool
    said: str
    answers: Sequence[tuple[str, int, str]]


def fuzz(
    description: Mapping[str, Any],
    url: str,
    folder: Path,
    *,
    known: Mapping[str, Sequence[str]] | None = None,
    examples: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    checks: Sequence[str] = CHECKS,
    max_examples: int = 10,
    max_seconds: int = 60,
) -> Fuzzed:
    """Run schemathesis over an OpenAPI or Swagger document against a server, the same every time.

    ``known`` gives values of path and query parameters under which something is found, by parameter name;
    ``examples`` bodies that are accepted, by operationId. ``folder`` takes what it writes.
    """
    document = prepared(description, known or {}, examples or {})
    path = folder / "description.json"
    path.write_text(json.dumps(document))
    command = [sys.executable, "-m", "schemathesis.cli", "run", str(path), "--url", url, "--no-color"]
    command += ["--checks", ",".join(checks), "--phases", "examples,coverage,fuzzing"]
    command += ["--generation-deterministic", "--seed", str(_SEED)]
    command += [
        "--max-examples",
        str(max_examples),
        "--max-time",
        str(max_seconds),
        "--request-timeout",
        "20",
    ]
    command += ["--warnings", "off", "--continue-on-failure"]
    record = folder / "answers.har"
    command += ["--report", "har", "--report-har-path", str(record), "--output-sanitize", "false"]
    for name, value in (headers or {}).items():
        command += ["--header", f"{name}: {value}"]
    done = subprocess.run(
        command, cwd=folder, check=False, capture_output=True, text=True, timeout=max_seconds + _MORE_SECONDS
    )
    entries = json.loads(record.read_text())["log"]["entries"] if record.exists() else []
    answers = [
        (
            urlsplit(entry["request"]["url"]).path,
            entry["response"]["status"],
            entry["response"]["content"].get("text", ""),
        )
        for entry in entries
    ]
    return Fuzzed(done.returncode == 0, f"{done.stdout}\n{done.stderr}", answers)


def prepared(
    description: Mapping[str, Any], known: Mapping[str, Sequence[str]], examples: Mapping[str, Any]
) -> dict[str, Any]:
    """The description with what is known written into it, and without dots in the names of path parameters,
    which schemathesis cannot read."""
    document: dict[str, Any] = copy.deepcopy(dict(description))
    document["paths"] = {_undotted(path): item for path, item in document["paths"].items()}
    for operation in _operations(document):
        for parameter in operation.get("parameters", []):
            if parameter["in"] == "path":
                parameter["name"] = parameter["name"].replace(".", "_")
            values = known.get(parameter["name"])
            if values and parameter["in"] in ("path", "query"):
                schema = parameter.get("schema", parameter)
                (schema["items"] if schema.get("type") == "array" else schema)["enum"] = list(values)
            if parameter["in"] == "body" and operation["operationId"] in examples:
                parameter["x-examples"] = {"known": {"value": examples[operation["operationId"]]}}
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for method, operation in item.items():
            if method in ("get", "put", "post", "delete", "patch", "head", "options"):
                yield operation


def _undotted(path: str) -> str:
    return "".join(
        part.replace(".", "_") if number % 2 else part
        for number, part in enumerate(path.replace("{", "\0{").replace("}", "}\0").split("\0"))
    )
