"""The demo, played through a real Airflow: what the tests of this folder look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from deploy.laptop.demo import DemoResult, play
from deploy.laptop.stack import Stack

# The least that has two retrainings.
DAYS = 2


@dataclass(frozen=True)
class Demo:
    """A laptop on which the demo has been played, and what it did."""

    stack: Stack
    did: DemoResult


@pytest.fixture(scope="package")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """Days of flights loaded, and the model of their delay trained twice."""
    with Stack(tmp_path_factory.mktemp("demo")) as stack:
        did = play(stack, print, count=DAYS)
        assert did.succeeded, did.dag_runs
        yield Demo(stack, did)
