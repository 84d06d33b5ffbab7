"""What is meant to break a server is refused in KFP's shape and leaves it healthy."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.support.handmade import component, document, parameters, task
from tests.support.local_backend import LocalBackend

API = "/apis/v2beta1"
_MIB = 1024 * 1024
SPEC = document(
    {"work": task("work", "comp-work")},
    {"comp-work": component(executorLabel="exec-work")},
    {"exec-work": {"container": {"image": "none", "command": ["true"]}}},
    inputs=parameters(number="float=0", text='str=""', deep="dict={}"),
)
# Nine anchors, each naming the one before nine times: 303 bytes that would become 28 MB.
BILLION_LAUGHS = b"".join(
    [b"a0: &a0 [x,x,x,x,x,x,x,x,x]\n"]
    + [b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 9)]
)


def named(name: str) -> bytes:
    return json.dumps({**SPEC, "pipelineInfo": {"name": name}}).encode()


def zipped(content: bytes, name: str = "pipeline.yaml") -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def tarred(content: bytes, name: str = "pipeline.yaml", kind: bytes = tarfile.REGTYPE) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
        archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


UPLOADS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "aliases": ("p.yaml", lambda: BILLION_LAUGHS),
    "aliases in a zip": ("p.zip", lambda: zipped(BILLION_LAUGHS)),
    "brackets": ("p.yaml", lambda: b"[" * 20_000),
    "braces": ("p.json", lambda: b'{"a":' * 20_000),
    "indentation": ("p.yaml", lambda: b"".join(b" " * n + b"a:\n" for n in range(3_000))),
    "NUL bytes": ("p.yaml", lambda: b"\0" * 1000),
    "a NUL in a name": ("p.yaml", lambda: named("fl\0ow")),
    "a path for a name": ("p.yaml", lambda: named("../../../up")),
    "no UTF-8": ("p.yaml", lambda: b"\xff\xfe\xfa pipelineInfo"),
    "a Python object": ("p.yaml", lambda: b"!!python/object/apply:os.system ['true']"),
    "not a number": ("p.yaml", lambda: b"pipelineInfo: {name: .nan}"),
    "50 MB": ("p.yaml", lambda: b"#" * 50_000_000),
    "a zip bomb": ("p.zip", lambda: zipped(b"#" * 64 * _MIB)),
    "a gzip bomb": ("p.tar.gz", lambda: gzip.compress(b"\0" * 64 * _MIB)),
    "a tar of a link": ("p.tar.gz", lambda: tarred(b"", kind=tarfile.SYMTYPE)),
    "a tar of a device": ("p.tar.gz", lambda: tarred(b"", kind=tarfile.CHRTYPE)),
    "a cut zip": ("p.zip", lambda: zipped(json.dumps(SPEC).encode())[:-20]),
    "a cut tar": ("p.tar.gz", lambda: tarred(json.dumps(SPEC).encode())[:100]),
    "a zip of something else": ("p.zip", lambda: zipped(b"x", "../../../etc/passwd")),
    "a picture": ("p.png", lambda: b"\x89PNG\r\n\x1a\n"),
    "nothing": ("p.yaml", lambda: b""),
}


def refused(answer: httpx.Response, *statuses: int) -> str:
    body = answer.json()
    assert answer.status_code in statuses, answer.text[:500]
    assert body["code"] == 3
    assert body["error"] == body["message"]
    assert len(answer.content) < 20_000
    assert "Traceback" not in answer.text
    return str(body["message"])


@pytest.fixture(autouse=True)
def _healthy_afterwards(http: httpx.Client, backend: LocalBackend) -> Any:
    before = http.get(f"{API}/pipelines").json()
    yield
    assert http.get(f"{API}/healthz").status_code == 200
    assert http.get(f"{API}/pipelines").json() == before
    assert backend.process.poll() is None
    assert "Traceback" not in (backend.data_dir / "stderr.log").read_text()


@pytest.mark.parametrize("name", UPLOADS)
def test_a_poisoned_upload(http: httpx.Client, name: str) -> None:
    file_name, content = UPLOADS[name]
    files = {"uploadfile": (file_name, content())}
    answer = http.post(f"{API}/pipelines/upload", files=files)
    message = refused(answer, 400, 413)
    assert answer.json()["error_message"] == message


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 20_000,
        b'{"a":' * 20_000,
        b"\0",
        b"\xff\xfe",
        b'{"display_name": "\\ud800"}',
        b'{"display_name": NaN}',
        b'{"display_name": 1e999}',
        b'{"runtime_config": {"parameters": {"number": Infinity}}}',
        b'{"runtime_config": {"parameters": {"number": ' + b"9" * 400 + b"}}}",
        b'{"runtime_config": {"parameters": {"number": ' + b"9" * 5000 + b"}}}",
        b'{"display_name": "a", "display_name": {}}',
        b'"text"',
        b"null null",
    ],
    ids=lambda body: body[:40].decode("latin-1"),
)
@pytest.mark.parametrize("path", ["runs", "recurringruns", "experiments", "pipelines/create"])
def test_a_poisoned_body(http: httpx.Client, path: str, body: bytes) -> None:
    refused(http.post(f"{API}/{path}", content=body), 400)


@pytest.mark.parametrize("path", ["runs", "recurringruns", "experiments", "pipelines"])
def test_a_body_of_50_megabytes(http: httpx.Client, path: str) -> None:
    body = b'{"display_name": "' + b"x" * 50_000_000 + b'"}'
    refused(http.post(f"{API}/{path}", content=body), 413)


@pytest.mark.parametrize(
    "query",
    [
        {"filter": "[" * 20_000},
        {"filter": '{"predicates": [' + "[" * 5_000},
        {"filter": '{"predicates": [{"key": "name", "operation": "EQUALS", "string_value": NaN}]}'},
        {"filter": json.dumps({"predicates": [{"key": "x' OR 1=1 --", "operation": 1, "string_value": ""}]})},
        {"sort_by": "name; DROP TABLE runs"},
        {"sort_by": "\0"},
        {"page_size": "9" * 5000},
        {"page_size": "1e3"},
        {"page_token": "A" * 5000},
        {"page_token": "eyJjb2x1bW4iOiAicnVuX2lkIn0="},
    ],
    ids=lambda query: str(query)[:60],
)
@pytest.mark.parametrize("path", ["runs", "recurringruns", "experiments", "pipelines"])
def test_a_poisoned_list(http: httpx.Client, path: str, query: dict[str, str]) -> None:
    refused(http.get(f"{API}/{path}", params=query), 400)


@pytest.mark.parametrize("name", ["a\0b", "x" * 10_000, "../../etc", "%2e%2e%2f", "💥", "' OR 1=1 --"])
def test_a_poisoned_name_finds_nothing(http: httpx.Client, name: str) -> None:
    for path in ("runs", "experiments", "recurringruns", "pipelines", "pipelines/names"):
        answer = http.get(f"{API}/{path}/{quote(name, safe='')}")
        assert (answer.status_code, answer.json()["code"]) == (404, 5), path
