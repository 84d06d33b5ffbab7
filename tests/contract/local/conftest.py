"""A real local backend in a process of its own, both of KFP's clients, and the pipelines that the tests send.

Every answer that a test here gets is compared with KFP's own description of its API.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from kfp_server_api import ApiException
from kfp_server_api.rest import RESTClientObject

from tests.contract.local.drivers import Client, ServerApi
from tests.support.kfp_swagger import Metadata, check_answer
from tests.support.local_backend import LocalBackend, start_local_backend

# Which shape of metadata a server serves, by host and port: its answers fit that description.
_SHAPES: dict[str, Metadata] = {}


@pytest.fixture(scope="module")
def metadata_shape() -> Metadata:
    """Which shape of metadata the backend serves; a module may ask for the other, or for both."""
    return "mlmd"


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory, metadata_shape: Metadata) -> Iterator[LocalBackend]:
    options = ("--metadata", metadata_shape)
    with start_local_backend(tmp_path_factory.mktemp("local"), options=options) as started:
        _SHAPES[urlsplit(started.url).netloc] = metadata_shape
        yield started


@pytest.fixture(scope="module")
def http(backend: LocalBackend) -> Iterator[httpx.Client]:
    """A plain client of the backend; one for all, since each takes long to make."""
    with httpx.Client(base_url=backend.url, timeout=60) as made:
        yield made


@pytest.fixture(params=[Client, ServerApi], ids=["kfp.Client", "kfp_server_api"])
def connect(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a client of a backend, given its URL: each of the two in turn."""
    made: Callable[..., Any] = request.param
    return made


@pytest.fixture
def client(connect: Callable[..., Any], backend: LocalBackend) -> Any:
    return connect(backend.url)


@pytest.fixture(scope="module", autouse=True)
def _every_answer_is_checked() -> Iterator[None]:
    by_kfp, by_httpx = RESTClientObject.request, httpx.Client.send

    def request(self: Any, method: str, url: str, *args: Any, **more: Any) -> Any:
        try:
            answer = by_kfp(self, method, url, *args, **more)
        except ApiException as error:
            _check(method, url, error.status, error.body)
            raise
        _check(method, url, answer.status, answer.data)
        return answer

    def send(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        answer = by_httpx(self, request, **more)
        _check(request.method, str(request.url), answer.status_code, answer.read())
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RESTClientObject, "request", request)
        patch.setattr(httpx.Client, "send", send)
        yield


def _check(method: str, url: str, status: int, body: str | bytes | None) -> None:
    content = body.encode() if isinstance(body, str) else body or b""
    parts = urlsplit(url)
    check_answer(method, parts.path, status, content, _SHAPES.get(parts.netloc, "mlmd"))


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
        for pipeline in (flows.saying, flows.waiting, flows.failing, flows.hiding):
            found[pipeline.name] = folder / f"{pipeline.name}.yaml"
            compiler.Compiler().compile(pipeline, str(found[pipeline.name]))
    return found
