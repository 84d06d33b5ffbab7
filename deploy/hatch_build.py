"""Builds the dashboard into a wheel, so that whoever installs the wheel needs no Node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The backend runs this file by itself, without the project on its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from deploy import dashboard


class DashboardHook(BuildHookInterface[Any]):
    """Builds the pages where they are missing or stale; a wheel never lacks them."""

    def dependencies(self) -> list[str]:
        """A Node from PyPI, where one is needed and the machine has none."""
        return [] if dashboard.is_current() or dashboard.has_node() else [dashboard.NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, unless the project is installed in place: `make dashboard` does it there."""
        if version != "editable":
            dashboard.build()
