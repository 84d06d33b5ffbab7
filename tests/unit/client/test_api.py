"""What both clients send, and what they make of the answers."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest

from bridge.client.api import AsyncBridgeClient
from bridge.client.errors import BridgeBadAnswer, BridgeUnauthorized, ProblemError
from bridge.client.models import InputModel, OriginModel, SubmitRequest
from bridge.client.sync import BridgeClient
from tests.unit.client.clients import EitherClient, MakeClient
from tests.unit.client.fake_bridge import FakeBridge, make_artifact, make_run, make_task, over, problem

TASK_INSTANCE = OriginModel(dag_id="d", dag_run_id="r", task_id="t")


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(value).parameters)
            for name, value in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert methods(BridgeClient) == methods(AsyncBridgeClient)


async def test_a_submission_carries_the_callers_key(client: EitherClient, bridge: FakeBridge) -> None:
    run = await client.call("submit", SubmitRequest(spec="x", arguments={"a": 1}), "nightly")
    sent = bridge.asked("POST", "/runs$")[0]
    assert sent.headers["idempotency-key"] == "nightly"
    assert run.arguments == {"a": 1}
    assert json.loads(sent.content)["arguments"] == {"a": 1}


async def test_a_null_argument_is_sent_and_unset_fields_are_not(
    client: EitherClient, bridge: FakeBridge
) -> None:
    await client.call("submit", SubmitRequest(spec="x", arguments={"a": None}), "k")
    body = json.loads(bridge.asked("POST", "/runs$")[0].content)
    assert body["arguments"] == {"a": None}
    assert "backend" not in body
    assert "pipeline" not in body


async def test_a_submission_without_key_gets_one_of_its_own(client: EitherClient, bridge: FakeBridge) -> None:
    await client.call("submit", SubmitRequest(spec="x"))
    await client.call("submit", SubmitRequest(spec="x"))
    first, second = (request.headers["idempotency-key"] for request in bridge.asked("POST", "/runs$"))
    assert first != second


async def test_a_task_instance_leaves_the_key_to_the_bridge(client: EitherClient, bridge: FakeBridge) -> None:
    await client.call("submit", SubmitRequest(spec="x", origin=TASK_INSTANCE))
    assert "idempotency-key" not in bridge.asked("POST", "/runs$")[0].headers


async def test_what_a_run_consists_of(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run(**over()))
    bridge.tasks[run.run_id] = [make_task(""), make_task("train")]
    bridge.artifacts[run.run_id] = [make_artifact(run, "train.model")]
    assert (await client.call("get_run", run.run_id)) == run
    assert [task.path for task in await client.call("tasks", run.run_id)] == ["", "train"]
    assert [one.type for one in await client.call("artifacts", str(run.run_id))] == ["system.Model"]
    assert (await client.call("metrics", run.run_id)).scalars == []
    assert (await client.call("explain", run.run_id)).unknown == ["the image's digest"]
    assert (await client.call("status")).version == "0.1.0"


async def test_cancel_says_on_whose_behalf(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    after = await client.call("cancel", run.run_id, key=run.submission_key, try_number=2, reason="late")
    body = json.loads(bridge.asked("POST", ":cancel$")[0].content)
    assert body == {"key": str(run.submission_key), "try_number": 2, "reason": "late"}
    assert after.state == "CANCELING"


async def test_a_person_who_cancels_leaves_key_and_try_out(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    await client.call("cancel", run.run_id)
    assert json.loads(bridge.asked("POST", ":cancel$")[0].content) == {}


async def test_all_runs_are_iterated_page_by_page(client: EitherClient, bridge: FakeBridge) -> None:
    bridge.page_size = 2
    for number in range(5):
        bridge.add(make_run(f"run {number}"))
    found = await client.take("iterate_runs", state=["RUNNING"])
    assert [run.display_name for run in found] == [f"run {number}" for number in (4, 3, 2, 1, 0)]
    assert [request.url.params.get("cursor") for request in bridge.requests] == [None, "2", "4"]
    assert bridge.requests[0].url.params.get_list("state") == ["RUNNING"]


async def test_content_is_a_seekable_file(client: EitherClient, bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    artifact = make_artifact(run, "train.model")
    bridge.content[artifact.artifact_id] = b"weights" * 1000
    with await client.call("open_artifact", artifact.artifact_id) as content:
        assert content.read(7) == b"weights"
        content.seek(0)
        assert len(content.read()) == 7000


async def test_content_that_is_not_there_is_a_problem(client: EitherClient, bridge: FakeBridge) -> None:
    with pytest.raises(ProblemError) as caught:
        await client.call("open_artifact", make_artifact(make_run(), "train.model").artifact_id)
    assert caught.value.slug == "not-found"


async def test_lineage_is_posted_as_one_event_or_a_batch(client: EitherClient, bridge: FakeBridge) -> None:
    await client.call("post_lineage", {"eventType": "START"})
    await client.call("post_lineage", [{"eventType": "COMPLETE"}])
    assert bridge.lineage == [{"eventType": "START"}, [{"eventType": "COMPLETE"}]]


async def test_the_token_is_sent_and_a_wrong_one_is_told_apart(
    make_client: MakeClient, bridge: FakeBridge
) -> None:
    bridge.token = "right"
    run = bridge.add(make_run())
    assert await make_client(token="right").call("get_run", run.run_id) == run
    with pytest.raises(BridgeUnauthorized, match="refused the token"):
        await make_client(token="wrong").call("get_run", run.run_id)
    assert len(bridge.requests) == 2


async def test_a_refusal_keeps_each_thing_that_is_wrong(client: EitherClient, bridge: FakeBridge) -> None:
    errors = {"/arguments/epochs": "epochs is missing", "/arguments/lr": "lr takes a number"}
    bridge.refuse = lambda _: problem("invalid-arguments", 422, "the arguments do not fit", errors=errors)
    with pytest.raises(ProblemError) as caught:
        await client.call("submit", SubmitRequest(spec="x"), "k")
    error = caught.value
    assert (error.slug, error.type, error.status, error.retryable) == (
        "invalid-arguments",
        "invalid-arguments",
        422,
        False,
    )
    assert [field.pointer for field in error.errors] == list(errors)
    assert "epochs is missing" in str(error)
    assert len(bridge.requests) == 1


async def test_a_login_page_is_no_answer_of_the_bridge(client: EitherClient, bridge: FakeBridge) -> None:
    import httpx

    bridge.trouble = [httpx.Response(200, html="<h1>Sign in</h1>"), httpx.Response(404, html="nothing here")]
    for _ in range(2):
        with pytest.raises(BridgeBadAnswer, match="no answer of the bridge"):
            await client.call("get_run", make_run().run_id)
    assert len(bridge.requests) == 2


async def test_json_that_is_cut_is_no_answer_of_the_bridge(client: EitherClient, bridge: FakeBridge) -> None:
    import httpx

    whole = make_run().model_dump_json().encode()
    bridge.trouble = [httpx.Response(200, content=whole[:-20], headers={"content-type": "application/json"})]
    with pytest.raises(BridgeBadAnswer):
        await client.call("get_run", make_run().run_id)


@pytest.mark.parametrize("url", ["", "bridge", "127.0.0.1:8700", "ftp://host", "http://", "http://[::1"])
def test_a_url_that_cannot_be_a_bridges_is_refused_at_once(url: str) -> None:
    for kind in (AsyncBridgeClient, BridgeClient):
        with pytest.raises(ValueError, match="URL"):
            kind(url)


async def test_the_prefix_and_a_trailing_slash_may_be_in_the_url(bridge: FakeBridge) -> None:
    run = bridge.add(make_run())
    for url in ("http://b:1/", "http://b:1/api/v1", "http://b:1/api/v1/"):
        with BridgeClient(url, transport=bridge.transport()) as one:
            assert one.get_run(run.run_id).run_id == run.run_id
            assert one.url == "http://b:1"


def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    bridge = FakeBridge()
    with BridgeClient("http://b:1", transport=bridge.transport()) as one:
        with pytest.raises(ProblemError):
            one.get_run("../status")
        with pytest.raises(ValueError, match="no id"):
            one.get_run("..")
    assert [request.url.raw_path for request in bridge.requests] == [b"/api/v1/runs/..%2Fstatus"]


def test_the_environment_names_the_bridge() -> None:
    with BridgeClient.from_environment({"KFBRIDGE_URL": "http://b:9", "KFBRIDGE_TOKEN": "t"}) as one:
        assert one.url == "http://b:9"
    with BridgeClient.from_environment({}) as one:
        assert one.url == "http://127.0.0.1:8700"


async def test_an_input_is_sent_with_its_version(client: EitherClient, bridge: FakeBridge) -> None:
    given = InputModel(name="flights", uri="s3://b/k", version="v7", version_kind="s3", rows=3)
    await client.call("submit", SubmitRequest(spec="x", inputs=[given]), "k")
    sent = json.loads(bridge.asked("POST", "/runs$")[0].content)["inputs"]
    assert sent == [{"name": "flights", "uri": "s3://b/k", "version": "v7", "version_kind": "s3", "rows": 3}]


@pytest.mark.parametrize("token", ["geheimnisvöll", "two\nlines"])
@pytest.mark.parametrize("client", [BridgeClient, AsyncBridgeClient])
def test_a_token_that_no_header_can_carry_is_refused_without_showing_it(client: Any, token: str) -> None:
    with pytest.raises(ValueError, match="other than printable ASCII") as caught:
        client("http://bridge", token=token)
    assert token not in str(caught.value)
