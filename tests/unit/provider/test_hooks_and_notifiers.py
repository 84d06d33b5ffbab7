"""The connection's fields, the Test button's sentences, and the notifier."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from airflow.sdk import Connection
from airflow.sdk.exceptions import AirflowException

from bridge.client import network
from bridge.provider.hooks import BridgeSettings, KubeflowBridgeHook
from bridge.provider.notifiers import CONN_ID_VARIABLE, BridgeRunNotifier
from tests.support.fake_bridge import FakeBridge
from tests.unit.provider.support import a_context


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "http://127.0.0.1:8700/"}, "http://127.0.0.1:8700"),
        ({"host": "https://bridge.example/base"}, "https://bridge.example/base"),
        ({"host": "bridge.example", "port": 8700}, "http://bridge.example:8700"),
        ({"host": "bridge.example", "schema": "https"}, "https://bridge.example"),
        ({"host": "bridge.example:99", "port": 1}, "http://bridge.example:99"),
    ],
)
def test_the_url(fields: dict[str, Any], url: str) -> None:
    connection = Connection(conn_id="c", conn_type="kfbridge", **fields)
    assert BridgeSettings.from_connection(connection).url == url


def test_a_connection_without_a_url_says_so() -> None:
    with pytest.raises(AirflowException, match="'c' names no URL"):
        BridgeSettings.from_connection(Connection(conn_id="c", conn_type="kfbridge"))


def test_the_other_fields() -> None:
    extra = {"project": "winter", "backend": " gpu ", "deployment": "", "verify": "false"}
    connection = Connection(
        conn_id="c", conn_type="kfbridge", host="http://b", password="secret", extra=json.dumps(extra)
    )
    settings = BridgeSettings.from_connection(connection)
    assert (settings.token, settings.project, settings.backend) == ("secret", "winter", "gpu")
    assert (settings.deployment, settings.verify) == (None, False)
    bare = BridgeSettings.from_connection(Connection(conn_id="c", conn_type="kfbridge", host="http://b"))
    assert (bare.project, bare.backend, bare.token, bare.verify) == ("default", None, None, True)


def test_a_ca_bundle_that_is_not_there_is_named() -> None:
    with pytest.raises(OSError, match="No such file"):
        BridgeSettings(url="https://b", verify="missing-ca.pem").client()
    BridgeSettings(url="https://b", verify=False).client().close()


@pytest.fixture
def test_button(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Presses the button of a connection whose network is the given handler's."""

    def press(handler: Any, *, host: str = "http://bridge.example", **fields: Any) -> tuple[bool, str]:
        class Wired(httpx.Client):
            def __init__(self, **options: Any) -> None:
                super().__init__(**{**options, "transport": httpx.MockTransport(handler)})

        monkeypatch.setattr(network.httpx, "Client", Wired)
        connection = {"conn_type": "kfbridge", "host": host, **fields}
        monkeypatch.setenv("AIRFLOW_CONN_KFBRIDGE_DEFAULT", json.dumps(connection))
        return KubeflowBridgeHook().test_connection()

    return press


def test_the_button_names_version_and_backends(test_button: Any) -> None:
    fake = FakeBridge(token="t")
    ok, sentence = test_button(fake._handle, password="t", extra={"backend": "gpu"})
    assert ok
    assert sentence.startswith("Bridge 0.1.0 at http://bridge.example, database sqlite; backends: default")
    assert "backend 'gpu' is none of them" in sentence


def test_the_button_tells_a_wrong_token(test_button: Any) -> None:
    ok, sentence = test_button(FakeBridge(token="t")._handle, password="wrong")
    assert not ok
    assert "wants another token" in sentence


def test_the_button_tells_that_nobody_answers(test_button: Any) -> None:
    fake = FakeBridge()
    fake.outages = 1
    ok, sentence = test_button(fake._handle)
    assert not ok
    assert sentence.startswith("No bridge answers")


def test_the_button_tells_what_is_no_bridge(test_button: Any) -> None:
    ok, sentence = test_button(lambda _: httpx.Response(200, html="<h1>Login</h1>"))
    assert not ok
    assert "not a bridge" in sentence
    assert test_button(None, host="ftp://x")[0] is False
    assert "names no URL" in test_button(None, host="")[1]


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk.execution_time.xcom import XCom

    monkeypatch.setattr(XCom, "get_value", lambda **_: {"run_id": "0a", "urls": {}})


@pytest.mark.usefixtures("noted")
def test_the_notifier_posts_where_the_variable_points(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[httpx.Request] = []

    def post(url: str, *, json: Any, headers: dict[str, str], timeout: float) -> httpx.Response:
        request = httpx.Request("POST", url, json=json, headers=headers)
        sent.append(request)
        return httpx.Response(204, request=request)

    monkeypatch.setattr(httpx, "post", post)
    monkeypatch.setenv(f"AIRFLOW_VAR_{CONN_ID_VARIABLE.upper()}", "oncall")
    hook = {
        "conn_type": "http",
        "host": "https://hooks.example/x",
        "password": "p",
        "extra": {"headers": {"A": "b"}},
    }
    monkeypatch.setenv("AIRFLOW_CONN_ONCALL", json.dumps(hook))
    context = {**a_context(), "exception": ValueError("no rows")}
    BridgeRunNotifier()(context)
    (request,) = sent
    note = json.loads(request.content)
    assert note["message"] == "training.train of scheduled__2 failed (try 1)"
    assert (note["error"], note["run"]["run_id"]) == ("no rows", "0a")
    assert (request.headers["authorization"], request.headers["a"]) == ("Bearer p", "b")


@pytest.mark.usefixtures("noted")
def test_without_a_connection_the_notifier_logs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(f"AIRFLOW_VAR_{CONN_ID_VARIABLE.upper()}", raising=False)
    BridgeRunNotifier("{{ ti.task_id }} broke")(a_context())
    said = caplog.text + capfd.readouterr().out
    assert "train broke (no notification connection is configured" in said
    assert CONN_ID_VARIABLE in said
