"""Switching caching on or off for a whole compiled pipeline, as ``kfp``'s ``enable_caching`` does."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any


def with_caching(document: Mapping[str, Any], enabled: bool) -> dict[str, Any]:
    """A copy of the pipeline spec document in which every task, at every level, has caching on or off."""
    changed = deepcopy(dict(document))
    for component in (changed.get("root", {}), *changed.get("components", {}).values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {"enableCache": True} if enabled else {}
    return changed
