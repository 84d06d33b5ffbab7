"""One engine for all tests, and the driver with the runner that uses it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.local.container_engine import find_engine
from bridge.local.containers import ContainerRunner
from bridge.local.settings import ContainerSettings
from bridge.spec.load import Pipeline
from tests.containers.engine import RealEngine, real_engine, why_not
from tests.support.handmade import component, pipeline, task
from tests.unit.local.conftest import Driver


@pytest.fixture(scope="session")
def engine() -> Iterator[RealEngine]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with real_engine() as started, pytest.MonkeyPatch.context() as patch:
        for name, value in started.env.items():
            patch.setenv(name, value)
        yield started


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("container-cache")


@pytest.fixture
def settings(cache_dir: Path) -> ContainerSettings:
    """Containers that share this machine's network, through which pip reaches the package index."""
    bundle = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    env = {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if name in os.environ}
    return ContainerSettings(
        network="host", ca_bundle=Path(bundle) if bundle else None, env=env, cache_dir=cache_dir
    )


@pytest.fixture
async def driver(tmp_path: Path, engine: RealEngine, settings: ContainerSettings) -> Driver:
    driver = Driver(tmp_path)
    driver.runner = ContainerRunner(await find_engine(engine.program), settings, tmp_path)
    return driver


def one(
    script: str = "", *, image: str = "alpine", more: Mapping[str, Any] | None = None, **io: Any
) -> Pipeline:
    """A pipeline of one container ``work``, which runs a shell script or whatever ``more`` says."""
    container = {"image": image, **({"command": ["sh", "-c", script]} if script else {}), **(more or {})}
    return pipeline(
        [task("work", "comp-work")],
        {"comp-work": component(executorLabel="exec-work", **io)},
        {"exec-work": {"container": container}},
    )
