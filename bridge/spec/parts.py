"""What a compiled pipeline runs, part by part, in words that can be laid beside another pipeline's."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from bridge.spec.documents import canonical_json
from bridge.spec.load import Pipeline
from bridge.spec.model import ContainerSpec

_REQUIREMENT = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?\s*(.*)$", re.DOTALL)
_DIGEST_CHARACTERS = 12


def images_by_component(pipeline: Pipeline) -> dict[str, str]:
    """The image of each component that has one, by its name without the compiler's prefix."""
    return {_plain(label): image for label, image in pipeline.images.items()}


def packages_by_component(pipeline: Pipeline) -> dict[str, str]:
    """What components install, ``train: pandas`` by version as written (``==2.1``, ``any`` if none is)."""
    found: dict[str, str] = {}
    for component, requirements in pipeline.packages.items():
        for requirement in requirements:
            name, version = split_requirement(requirement)
            found[f"{_plain(component)}: {name}"] = version or "any"
    return found


def split_requirement(requirement: str) -> tuple[str, str]:
    """A requirement's name, extras included, and what it says of the version; ``""`` if nothing."""
    match = _REQUIREMENT.match(requirement)
    if match is None:
        return requirement.strip(), ""
    return f"{match[1]}{match[2] or ''}", match[3].strip()


def code_by_component(pipeline: Pipeline) -> dict[str, str]:
    """A short digest of the command line and the variables of each component that runs in a container."""
    found = {}
    for label, executor in pipeline.model.executors.items():
        if isinstance(executor, ContainerSpec):
            said = [list(executor.command), list(executor.args), sorted(executor.env)]
            found[_plain(label)] = hashlib.sha256(canonical_json(said)).hexdigest()[:_DIGEST_CHARACTERS]
    return found


def resources_by_component(pipeline: Pipeline) -> dict[str, Mapping[str, Any]]:
    """The resources that components ask for, as the compiled pipeline writes them."""
    return {
        _plain(label): executor.resources
        for label, executor in pipeline.model.executors.items()
        if isinstance(executor, ContainerSpec) and executor.resources
    }


def _plain(name: str) -> str:
    return name.removeprefix("exec-").removeprefix("comp-")
