"""Where commands keep files, after the XDG base directory rules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def cache_dir(environ: Mapping[str, str]) -> Path:
    """What can be built again: ``$XDG_CACHE_HOME/kfbridge``, else ``~/.cache/kfbridge``."""
    return _base(environ, "XDG_CACHE_HOME", ".cache")


def data_dir(environ: Mapping[str, str]) -> Path:
    """What is kept: ``$XDG_DATA_HOME/kfbridge``, else ``~/.local/share/kfbridge``."""
    return _base(environ, "XDG_DATA_HOME", ".local/share")


def _base(environ: Mapping[str, str], variable: str, fallback: str) -> Path:
    given = environ.get(variable, "")
    # The rules say that a relative path is to be ignored.
    if given and Path(given).is_absolute():
        return Path(given, "kfbridge")
    return Path(environ.get("HOME") or Path.home(), fallback, "kfbridge")
