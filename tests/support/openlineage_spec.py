"""OpenLineage's own JSON schemas, which lie beside the checkout, and what they say of an event."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import jsonschema
import pytest
from referencing import Registry, Resource

SPECIFICATION = Path(__file__).parents[3] / "shared" / "openlineage-spec"
needs_specification = pytest.mark.skipif(
    not SPECIFICATION.exists(), reason="the specification is not beside the checkout"
)
FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def _is_moment(value: Any) -> bool:
    # A time without a zone is none.
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("uuid", raises=ValueError)
def _is_uuid(value: Any) -> bool:
    return not isinstance(value, str) or str(UUID(value)) == value.lower()


@FORMATS.checks("uri", raises=ValueError)
def _is_uri(value: Any) -> bool:
    return not isinstance(value, str) or bool(urlsplit(value).scheme)


@cache
def _registry() -> Registry[Any]:
    files = [SPECIFICATION / "OpenLineage.json", *(SPECIFICATION / "facets").glob("*.json")]
    schemas = [json.loads(file.read_text()) for file in files]
    registry: Registry[Any] = Registry()
    return registry.with_resources((s["$id"], Resource.from_contents(s)) for s in schemas)


def check_event(event: Any) -> set[str]:
    """Check an event and each of its facets by the schemas they name; the names of the facets.

    A facet of the specification has to be of a version that lies there, and under the key that its schema
    gives it; those that begin with ``kfbridge_`` are the bridge's own.
    """
    told = json.loads(json.dumps(event, allow_nan=False))
    _check(told, told["schemaURL"])
    facets = [*told["run"]["facets"].items(), *told["job"]["facets"].items()]
    for dataset in [*told["inputs"], *told["outputs"]]:
        for kind in ("facets", "inputFacets", "outputFacets"):
            facets += dataset.get(kind, {}).items()
    for name, facet in facets:
        if name.startswith("kfbridge_"):
            assert facet["_producer"]
            assert facet["_schemaURL"].startswith("urn:kfbridge:facet:")
        else:
            _check({name: facet}, facet["_schemaURL"].split("#")[0])
            _check(facet, facet["_schemaURL"])
    return {name for name, _ in facets}


def _check(value: Any, reference: str) -> None:
    document = reference.split("#", maxsplit=1)[0]
    assert document in _registry(), f"{document} is not in the specification that lies there"
    jsonschema.Draft202012Validator(
        {"$ref": reference}, registry=_registry(), format_checker=FORMATS
    ).validate(value)
