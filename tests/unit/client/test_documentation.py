"""docs/client.md names everything that is public."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import bridge.client
from bridge.client import errors
from bridge.client.api import AsyncBridgeClient

DOCUMENT = (Path(__file__).parents[3] / "docs" / "client.md").read_text(encoding="utf-8")


def test_every_method_is_documented_and_no_other() -> None:
    methods = dict(inspect.getmembers(AsyncBridgeClient, inspect.isfunction))
    section = DOCUMENT.split("## Methods")[1].split("## Errors")[0]
    first_column = " ".join(line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`(\w+)\(", first_column))
    assert documented == {name for name in methods if not name.startswith("_")}


def test_every_option_is_documented() -> None:
    options = list(inspect.signature(AsyncBridgeClient).parameters)[1:]
    assert [name for name in options if f"| `{name}` |" not in DOCUMENT] == []


def test_every_error_and_every_name_of_the_package_is_documented() -> None:
    named = [
        name for name, value in vars(errors).items() if inspect.isclass(value) and name.startswith(("B", "P"))
    ]
    own = [name for name in named if getattr(errors, name).__module__ == errors.__name__]
    assert len(own) >= 5
    assert [name for name in [*own, *bridge.client.__all__] if f"`{name}" not in DOCUMENT] == []
