"""One backend for each shape of metadata, fed at once with every pipeline that is selected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

import pytest

from bridge.kfp_api.choosing import Shape
from tests.contract.corpus.conducting import Backend, conducted
from tests.contract.corpus.expectation import pipeline_file
from tests.contract.corpus.observing import SeenRun
from tests.support.local_backend import start_local_backend

# The secrets that KFP's own tests put into the cluster, as the components that assert them say.
_SECRETS = {
    "test-secret-1": {"username": "user1"},
    "test-secret-2": {"password": "psw1"},
    "test-secret-3": {"password": "psw2"},
    # a config map of a pipeline of our own
    "settings": {"mode": "dry"},
}
# What would have to come from a foreign network fails at once, on every machine.
_ENVIRONMENT = {"HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both backends share: secrets, and environments that need not be built twice."""
    place = tmp_path_factory.mktemp("corpus")
    for name, keys in _SECRETS.items():
        (place / "secrets" / name).mkdir(parents=True)
        for key, value in keys.items():
            (place / "secrets" / name / key).write_text(value)
    return place


@pytest.fixture(scope="session", params=["mlmd", "native"])
def server(request: pytest.FixtureRequest, folder: Path) -> Iterator[Backend]:
    """The backend that everything here talks to, in each of the shapes its metadata can have."""
    shape: Shape = request.param
    with start_local_backend(
        folder / shape,
        options=[
            f"--metadata={shape}",
            "--secrets-dir",
            str(folder / "secrets"),
            "--environments-dir",
            str(folder / "environments"),
        ],
        environment=_ENVIRONMENT,
    ) as started:
        yield Backend(started.url, shape, folder / f"{shape}-scratch")


@pytest.fixture(scope="session")
def performed(
    request: pytest.FixtureRequest, server: Backend
) -> Iterator[Mapping[str, Future[list[SeenRun]]]]:
    """What was seen of each selected pipeline's runs, by the pipeline's name."""
    with conducted(server, _selected(request.session.items, server.metadata)) as results:
        yield results


def _selected(items: Sequence[pytest.Item], shape: Shape) -> list[str]:
    """The pipelines of the selected tests, which their parameter ``pipeline`` names."""
    found = []
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is None or callspec.params.get("server") != shape:
            continue
        name = callspec.params.get("pipeline")
        path = pipeline_file(name) if name else None
        if name and path and path.is_file():
            found.append(name)
    return found
