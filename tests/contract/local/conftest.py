"""A real local backend in a process of its own, and the pipelines that the tests send to it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.local_backend import LocalBackend, start_local_backend


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    with start_local_backend(tmp_path_factory.mktemp("local")) as started:
        yield started


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The compiled pipelines of ``flows``, by pipeline name."""
    with warnings.catch_warnings():
        # kfp warns of its own dependencies when it is imported and when it compiles.
        warnings.simplefilter("ignore")
        from kfp import compiler

        from tests.contract.local import flows

        folder = tmp_path_factory.mktemp("packages")
        found = {}
        for pipeline in (flows.saying, flows.waiting, flows.failing):
            found[pipeline.name] = folder / f"{pipeline.name}.yaml"
            compiler.Compiler().compile(pipeline, str(found[pipeline.name]))
    return found
