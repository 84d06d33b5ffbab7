"""Which version of the bridge this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The installed version of the bridge."""
    try:
        return version("airflow-kfp-bridge")
    except PackageNotFoundError:
        return "unknown"
