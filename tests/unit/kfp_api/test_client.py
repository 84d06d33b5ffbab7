"""The client: what it sends, what it repeats and what it never repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from bridge.kfp_api import errors
from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.errors import KfpError
from bridge.kfp_api.filters import Filter
from bridge.kfp_api.http import Exchange, check_base_url
from bridge.kfp_api.messages import PipelineVersionReference, Run, RuntimeConfig
from bridge.kfp_api.retry import RetryPolicy
from tests.unit.kfp_api.fakes import FakeServer, Reply, failed, ok

RUN_ID = UUID("11111111-2222-3333-4444-555555555555")
HTML = httpx.Response(200, html="<!doctype html><title>Sign in</title>")
CUT = httpx.Response(200, content=b'{"run_id": "x', headers={"content-type": "application/json"})

BEFORE_A_BYTE = [
    httpx.ConnectError("connection refused"),
    httpx.ConnectTimeout("no answer"),
    httpx.PoolTimeout("no connection free"),
    httpx.ProxyError("no tunnel"),
]
AFTER_A_BYTE = [
    httpx.ReadTimeout("no answer"),
    httpx.ReadError("reset"),
    httpx.WriteError("broken pipe"),
    httpx.WriteTimeout("stalled"),
    httpx.RemoteProtocolError("server disconnected"),
    httpx.CloseError("closing"),
]


def run() -> Run:
    return Run(
        run_id=str(RUN_ID),
        display_name="r",
        experiment_id="e",
        pipeline_version_reference=PipelineVersionReference(pipeline_id="p", pipeline_version_id="v"),
        runtime_config=RuntimeConfig(parameters={"epochs": 3, "note": None}),
    )


# Submitting


async def test_create_run_sends_the_run_as_it_is() -> None:
    server = FakeServer([ok({"run_id": str(RUN_ID), "state": "PENDING"})])
    made = await server.client().create_run(run())
    assert made.run_id == str(RUN_ID)
    assert (server.requests[0].method, server.requests[0].url.path) == ("POST", "/apis/v2beta1/runs")
    assert server.body() == {
        "run_id": str(RUN_ID),
        "display_name": "r",
        "experiment_id": "e",
        "pipeline_version_reference": {"pipeline_id": "p", "pipeline_version_id": "v"},
        "runtime_config": {"parameters": {"epochs": 3, "note": None}},
    }


@pytest.mark.parametrize("failure", BEFORE_A_BYTE, ids=lambda failure: type(failure).__name__)
async def test_a_run_that_never_left_says_so(failure: Exception) -> None:
    server = FakeServer([failure])
    with pytest.raises(errors.KfpUnreachable) as caught:
        await server.client().create_run(run())
    assert caught.value.sent is False
    assert caught.value.ambiguous is False
    assert len(server.requests) == 1


@pytest.mark.parametrize("failure", AFTER_A_BYTE, ids=lambda failure: type(failure).__name__)
async def test_a_run_that_may_have_arrived_is_never_sent_twice(failure: Exception) -> None:
    server = FakeServer([failure, ok({"run_id": "another"})])
    with pytest.raises(errors.KfpUnreachable) as caught:
        await server.client().create_run(run())
    assert caught.value.sent is True
    assert caught.value.ambiguous is True
    assert len(server.requests) == 1
    assert server.slept == []


@pytest.mark.parametrize(
    ("reply", "kind", "ambiguous"),
    [
        (failed(500), errors.KfpServerError, True),
        (failed(502), errors.KfpServerError, True),
        (failed(503, **{"retry-after": "1"}), errors.KfpServerError, True),
        (failed(504), errors.KfpServerError, True),
        (HTML, errors.KfpBadAnswer, True),
        (CUT, errors.KfpBadAnswer, True),
        (ok([1]), errors.KfpBadAnswer, True),
        (ok({"run_id": {"not": "text"}}), errors.KfpBadAnswer, True),
        (ok({}), errors.KfpBadAnswer, True),
        (httpx.Response(200), errors.KfpBadAnswer, True),
        (failed(400), errors.KfpInvalid, False),
        (failed(401), errors.KfpAuthError, False),
        (failed(403), errors.KfpAuthError, False),
        (failed(409), errors.KfpConflict, False),
        (failed(429, **{"retry-after": "3"}), errors.KfpRateLimited, False),
    ],
)
async def test_no_answer_makes_a_run_be_sent_twice(
    reply: httpx.Response, kind: type[KfpError], ambiguous: bool
) -> None:
    server = FakeServer([reply, ok({"run_id": "another"})])
    with pytest.raises(kind) as caught:
        await server.client().create_run(run())
    assert caught.value.ambiguous is ambiguous
    assert len(server.requests) == 1


async def test_a_whole_answer_has_to_come_in_time() -> None:
    async def trickle(request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    transport = httpx.MockTransport(trickle)
    client = KfpClient("http://kfp.example", transport=transport, timeout_seconds=0.01)
    with pytest.raises(errors.KfpUnreachable, match=r"within 0\.01 s") as caught:
        await client.create_run(run())
    assert caught.value.sent is True


# Reading


@pytest.mark.parametrize(
    "first",
    [*BEFORE_A_BYTE, *AFTER_A_BYTE, failed(500), failed(502), failed(503), failed(408), failed(429), CUT],
    ids=lambda reply: type(reply).__name__ if isinstance(reply, Exception) else str(reply.status_code),
)
async def test_reading_is_repeated(first: Reply) -> None:
    server = FakeServer([first, first, ok({"run_id": str(RUN_ID), "state": "RUNNING"})])
    found = await server.client().get_run(RUN_ID)
    assert found.state == "RUNNING"
    assert len(server.requests) == 3
    assert len(server.slept) == 2


@pytest.mark.parametrize("reply", [failed(400), failed(401), failed(403), failed(404), failed(409), HTML])
async def test_reading_what_is_refused_is_not_repeated(reply: httpx.Response) -> None:
    server = FakeServer([reply])
    with pytest.raises(KfpError):
        await server.client().get_run(RUN_ID)
    assert len(server.requests) == 1


async def test_reading_gives_up_with_the_last_error() -> None:
    server = FakeServer([failed(500, "one"), failed(500, "two"), failed(503, "last")])
    with pytest.raises(errors.KfpServerError, match="last"):
        await server.client(retry=RetryPolicy(attempts=3)).get_run(RUN_ID)
    assert len(server.requests) == 3
    assert all(0 <= seconds <= 10 for seconds in server.slept)


@pytest.mark.parametrize("first", [failed(503), failed(429, **{"retry-after": "1"}), CUT])
async def test_a_list_is_not_repeated_for_a_caller_that_comes_again_by_itself(first: Reply) -> None:
    server = FakeServer([first, ok({"runs": []})])
    with pytest.raises(KfpError):
        await server.client().list_runs(repeat=False)
    assert (len(server.requests), server.slept) == (1, [])


async def test_retry_after_is_honoured_within_bounds() -> None:
    server = FakeServer([failed(429, **{"retry-after": "7"}), ok({"run_id": str(RUN_ID)})])
    await server.client().get_run(RUN_ID)
    assert server.slept == [7.0]
    server = FakeServer([failed(429, **{"retry-after": "3600"}), ok({"run_id": "r"})])
    with pytest.raises(errors.KfpRateLimited) as caught:
        await server.client().get_run(RUN_ID)
    assert caught.value.retry_after_seconds == 3600
    assert server.slept == []


async def test_a_login_page_is_told_from_cut_json() -> None:
    with pytest.raises(errors.KfpBadAnswer, match="login page") as page:
        await FakeServer([HTML]).client().get_run(RUN_ID)
    with pytest.raises(errors.KfpBadAnswer, match="too early") as cut:
        await FakeServer([CUT]).client().get_run(RUN_ID)
    assert (page.value.cut, page.value.retryable) == (False, False)
    assert (cut.value.cut, cut.value.retryable) == (True, True)


@pytest.mark.parametrize(
    "reply",
    [
        httpx.Response(200),
        ok({}),
        ok({"run_id": "another"}),
        httpx.Response(404),
        httpx.Response(404, text="default backend - 404"),
        httpx.Response(404, html="<html>nothing here</html>"),
    ],
)
async def test_what_does_not_speak_of_the_run_proves_nothing_of_it(reply: httpx.Response) -> None:
    with pytest.raises(errors.KfpBadAnswer):
        await FakeServer([reply]).client().get_run(RUN_ID)


@pytest.mark.parametrize("verb", ["get_run", "terminate_run", "retry_run", "delete_run"])
async def test_only_kfps_own_404_means_that_a_run_is_gone(verb: str) -> None:
    with pytest.raises(errors.KfpNotFound):
        await getattr(FakeServer([failed(404)]).client(), verb)(RUN_ID)
    with pytest.raises(errors.KfpBadAnswer, match="a gateway or proxy answered"):
        await getattr(FakeServer([httpx.Response(404)]).client(), verb)(RUN_ID)


async def test_an_answer_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.kfp_api.http.MAX_ANSWER_BYTES", 1000)
    server = FakeServer([ok({"run_id": "r" * 2000})])
    with pytest.raises(errors.KfpBadAnswer, match="more than 1000 bytes"):
        await server.client().get_run(RUN_ID)


async def test_healthz_takes_an_empty_body() -> None:
    assert await FakeServer([httpx.Response(200)]).client().healthz() == {}
    assert await FakeServer([ok({"multi_user": False})]).client().healthz() == {"multi_user": False}


async def test_list_runs_asks_for_what_it_is_told() -> None:
    server = FakeServer([ok({"runs": [{"run_id": "r"}], "total_size": 1})])
    page = await server.client().list_runs(
        namespace="team",
        filter=Filter().equals("state", "RUNNING"),
        sort_by="created_at desc",
        page_size=50,
        page_token="t",
        experiment_id="e",
    )
    assert [one.run_id for one in page.runs] == ["r"]
    params = dict(server.requests[0].url.params)
    assert params.pop("filter").startswith('{"predicates"')
    assert params == {
        "namespace": "team",
        "sort_by": "created_at desc",
        "page_size": "50",
        "page_token": "t",
        "experiment_id": "e",
    }


@pytest.mark.parametrize("size", [0, 201])
async def test_a_page_size_that_kfp_would_change_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 200"):
        await FakeServer([ok({})]).client().list_runs(page_size=size)


async def test_iterate_runs_goes_through_all_pages() -> None:
    server = FakeServer(
        [
            ok({"runs": [{"run_id": "1"}, {"run_id": "2"}], "next_page_token": "a"}),
            ok({"next_page_token": "b"}),
            ok({"runs": [{"run_id": "3"}]}),
        ]
    )
    assert [one.run_id async for one in server.client().iterate_runs()] == ["1", "2", "3"]
    assert [request.url.params.get("page_token") for request in server.requests] == [None, "a", "b"]


async def test_a_page_token_that_repeats_ends_the_walk() -> None:
    server = FakeServer([ok({"runs": [{"run_id": "1"}], "next_page_token": "a"})])
    with pytest.raises(errors.KfpBadAnswer, match="repeats"):
        assert [one async for one in server.client().iterate_runs()] == []
    assert len(server.requests) == 2


async def test_ids_cannot_leave_their_place_in_the_path() -> None:
    server = FakeServer([ok({"run_id": "../pipelines?x=1#y"})])
    await server.client().get_run("../pipelines?x=1#y")
    assert server.requests[0].url.raw_path == b"/apis/v2beta1/runs/..%2Fpipelines%3Fx%3D1%23y"
    with pytest.raises(ValueError, match="names nothing"):
        await server.client().get_run("..")


# Changing


Change = Callable[[KfpClient], Awaitable[Any]]
CHANGES: list[tuple[Change, str, str]] = [
    (lambda client: client.terminate_run(RUN_ID), "POST", f"/apis/v2beta1/runs/{RUN_ID}:terminate"),
    (lambda client: client.retry_run(RUN_ID), "POST", f"/apis/v2beta1/runs/{RUN_ID}:retry"),
    (lambda client: client.delete_run(RUN_ID), "DELETE", f"/apis/v2beta1/runs/{RUN_ID}"),
    (lambda client: client.upload_pipeline("a: 1", "n", "ns"), "POST", "/apis/v2beta1/pipelines/upload"),
    (
        lambda client: client.upload_pipeline_version("a: 1", "p", "v"),
        "POST",
        "/apis/v2beta1/pipelines/upload_version",
    ),
]


@pytest.mark.parametrize(("change", "method", "path"), CHANGES)
async def test_changes_go_where_they_should(change: Change, method: str, path: str) -> None:
    server = FakeServer([ok({})])
    await change(server.client())
    assert (server.requests[0].method, server.requests[0].url.path) == (method, path)


@pytest.mark.parametrize(("change", "method", "path"), CHANGES)
async def test_a_change_is_repeated_only_if_nothing_can_have_happened(
    change: Change, method: str, path: str
) -> None:
    for safe in (httpx.ConnectError("refused"), failed(429)):
        server = FakeServer([safe, ok({})])
        await change(server.client())
        assert len(server.requests) == 2
    for unsafe in (httpx.ReadTimeout("late"), failed(500), failed(503)):
        server = FakeServer([unsafe, ok({})])
        with pytest.raises(KfpError) as caught:
            await change(server.client())
        assert caught.value.ambiguous
        assert len(server.requests) == 1


async def test_upload_sends_a_form_with_the_file() -> None:
    server = FakeServer([ok({"pipeline_id": "p"})])
    made = await server.client().upload_pipeline("pipelineInfo: {}", "flight-delay", "team", description="d")
    assert made.pipeline_id == "p"
    request = server.requests[0]
    assert dict(request.url.params) == {"name": "flight-delay", "namespace": "team", "description": "d"}
    assert request.headers["content-type"].startswith("multipart/form-data; boundary=")
    assert b'name="uploadfile"; filename="pipeline.yaml"' in request.content
    assert b"pipelineInfo: {}" in request.content


async def test_a_pipeline_is_found_by_its_name() -> None:
    server = FakeServer([ok({"pipeline_id": "p", "name": "a/b"})])
    await server.client().get_pipeline_by_name("a/b", "team")
    assert server.requests[0].url.raw_path == b"/apis/v2beta1/pipelines/names/a%2Fb?namespace=team"


# Experiments


async def test_an_experiment_that_exists_is_used() -> None:
    server = FakeServer([ok({"experiments": [{"experiment_id": "1", "display_name": "x"}]})])
    assert (await server.client().ensure_experiment("x", "team")).experiment_id == "1"
    assert dict(server.requests[0].url.params)["namespace"] == "team"
    assert len(server.requests) == 1


async def test_an_experiment_is_made_if_there_is_none() -> None:
    server = FakeServer([ok({}), ok({"experiment_id": "2", "display_name": "x"})])
    assert (await server.client().ensure_experiment("x")).experiment_id == "2"
    assert server.body() == {"display_name": "x"}


@pytest.mark.parametrize("reply", [failed(409), failed(500), httpx.ReadTimeout("late")])
async def test_an_experiment_that_another_made_meanwhile_is_found(reply: Reply) -> None:
    found = ok({"experiments": [{"experiment_id": "3", "display_name": "x"}]})
    server = FakeServer([ok({}), reply, found])
    assert (await server.client().ensure_experiment("x")).experiment_id == "3"


async def test_an_experiment_that_may_not_be_made_is_an_error() -> None:
    with pytest.raises(errors.KfpAuthError):
        await FakeServer([ok({}), failed(403)]).client().ensure_experiment("x")
    with pytest.raises(errors.KfpConflict):
        await FakeServer([ok({}), failed(409), ok({})]).client().ensure_experiment("x")


# Logs


async def test_a_log_comes_in_pieces_and_its_end_as_text() -> None:
    log = "".join(f"line {number} ä\n" for number in range(1000)).encode()
    server = FakeServer([httpx.Response(200, content=log)])
    pieces = [piece async for piece in server.client().node_log(RUN_ID, "pod/1")]
    assert b"".join(pieces) == log
    assert server.requests[0].url.raw_path == f"/apis/v1alpha1/runs/{RUN_ID}/nodes/pod%2F1/log".encode()
    text = await server.client().node_log_text(RUN_ID, "pod", max_bytes=30)
    assert text.endswith("line 999 ä\n")
    assert len(text.encode()) <= 32


async def test_a_missing_log_is_not_found() -> None:
    with pytest.raises(errors.KfpNotFound, match="gone"):
        await FakeServer([failed(404, "gone")]).client().node_log_text(RUN_ID, "pod")


async def test_a_log_that_breaks_off_is_an_error_after_some_tries() -> None:
    server = FakeServer([httpx.ReadError("reset")])
    with pytest.raises(errors.KfpUnreachable):
        await server.client().node_log_text(RUN_ID, "pod")
    assert len(server.requests) == 4
    server = FakeServer([httpx.ReadError("reset"), httpx.Response(200, content=b"all of it")])
    assert await server.client().node_log_text(RUN_ID, "pod") == "all of it"


async def test_a_log_is_followed_if_asked_for_and_with_a_fresh_token(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")

    def rotate(request: httpx.Request) -> httpx.Response:
        path.write_text("new")
        return failed(401)

    server = FakeServer([rotate, httpx.Response(200, content=b"log")])
    client = server.client(token=TokenSource.from_file(path))
    assert [piece async for piece in client.node_log(RUN_ID, "pod", follow=True)] == [b"log"]
    assert server.requests[1].url.params["follow"] == "true"
    assert server.requests[1].extensions["timeout"]["read"] == 900
    assert server.requests[1].headers["authorization"] == "Bearer new"


# Auth


async def test_the_token_goes_into_the_header() -> None:
    server = FakeServer([ok({"run_id": str(RUN_ID)})])
    await server.client(token=TokenSource.from_value("secret")).get_run(RUN_ID)
    assert server.requests[0].headers["authorization"] == "Bearer secret"
    assert "kubeflow-userid" not in server.requests[0].headers
    await server.client().get_run(RUN_ID)
    assert "authorization" not in server.requests[1].headers


async def test_a_rotated_token_is_read_again_after_a_401_and_tried_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")

    def rotate(request: httpx.Request) -> httpx.Response:
        path.write_text("new")
        return failed(401, "expired")

    server = FakeServer([rotate, ok({"run_id": str(RUN_ID)})])
    made = await server.client(token=TokenSource.from_file(path)).create_run(run())
    assert made.run_id == str(RUN_ID)
    assert [one.headers["authorization"] for one in server.requests] == ["Bearer old", "Bearer new"]

    server = FakeServer([failed(401, "still no")])
    with pytest.raises(errors.KfpAuthError, match="still no"):
        await server.client(token=TokenSource.from_file(path)).get_run(RUN_ID)
    assert len(server.requests) == 1


async def test_a_token_that_is_refused_twice_is_not_tried_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("0")

    def rotate(request: httpx.Request) -> httpx.Response:
        path.write_text(path.read_text() + "0")
        return failed(401)

    server = FakeServer([rotate])
    with pytest.raises(errors.KfpAuthError):
        await server.client(token=TokenSource.from_file(path)).get_run(RUN_ID)
    assert len(server.requests) == 2


async def test_a_token_file_that_is_missing_sends_nothing(tmp_path: Path) -> None:
    server = FakeServer([ok({})])
    with pytest.raises(errors.KfpAuthError, match="cannot be read"):
        await server.client(token=TokenSource.from_file(tmp_path / "none")).create_run(run())
    assert server.requests == []


# Addresses


@pytest.mark.parametrize(
    ("given", "checked"),
    [
        ("http://localhost:8888", "http://localhost:8888"),
        (" https://kfp.example/ ", "https://kfp.example"),
        ("https://host/pipeline/", "https://host/pipeline"),
        ("http://host/pipeline/apis/v2beta1/", "http://host/pipeline"),
        ("http://[::1]:8888", "http://[::1]:8888"),
    ],
)
def test_base_urls(given: str, checked: str) -> None:
    assert check_base_url(given) == checked


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", "http://"),
        ("localhost:8888", "http://"),
        ("ftp://host", "http://"),
        ("http://", "host"),
        ("http:///path", "host"),
        ("http://host:port", "no URL"),
        ("http://host:99999", "no URL"),
        ("http://host:0", "port 0"),
        ("http://ho st", "host"),
        ("http://user:pw@host", "token"),
        ("http://host/?x=1", "page"),
        ("http://host/#/runs", "page"),
        ("http://[::1", "no URL"),
    ],
)
def test_a_base_url_that_cannot_be_one_is_refused_at_once(given: str, said: str) -> None:
    with pytest.raises(errors.KfpBadUrl, match=said) as caught:
        KfpClient(given)
    assert "pw" not in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("url", "through_proxy"),
    [
        ("http://127.0.0.1:8888", False),
        ("http://localhost:8888", False),
        ("http://[::1]:8888", False),
        ("http://kfp.example", True),
    ],
)
async def test_this_machine_is_not_reached_through_a_proxy(
    url: str, through_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    exchange = Exchange(url, token=None, timeout_seconds=1, transport=None, headers={}, ca=None)
    assert exchange.trusts_environment is through_proxy
    await exchange.aclose()


def test_a_file_of_authorities_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(KfpError, match=r"ca\.pem cannot be used"):
        KfpClient("https://kfp.example", ca=str(tmp_path / "ca.pem"))


async def test_a_base_path_is_kept() -> None:
    server = FakeServer([ok({"run_id": "r"})])
    async with server.client("https://host/pipeline/") as client:
        await client.get_run("r")
        assert client.base_url == "https://host/pipeline"
    assert str(server.requests[0].url) == "https://host/pipeline/apis/v2beta1/runs/r"
