"""``kfbridge submit``: what is sent, what is refused before anything is sent, and how waiting ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.client.models import GateModel, MetricModel
from tests.unit.client.fake_bridge import FakeBridge, make_artifact, make_run, make_task, over, problem
from tests.unit.commands.conftest import Shell


def sent(bridge: FakeBridge) -> dict[str, Any]:
    """The one submission that was sent."""
    (request,) = bridge.asked("POST", "/runs$")
    body: dict[str, Any] = json.loads(request.content)
    return body


def test_the_runs_id_is_the_result_and_the_rest_is_said_beside_it(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    said = kfbridge("submit", training, "-a", "epochs=5")
    (run,) = bridge.runs.values()
    assert (said.code, said.out) == (0, f"{run.run_id}\n")
    assert str(run.links.bridge) in said.err
    assert f"kfbridge show {str(run.run_id)[:8]}" in said.err


def test_everything_that_was_asked_for_is_sent(kfbridge: Shell, bridge: FakeBridge, training: str) -> None:
    kfbridge.environ["KFBRIDGE_TOKEN"] = "secret"
    options = [
        "--backend",
        "b",
        "--project",
        "p",
        "--namespace",
        "n",
        "--experiment",
        "e",
        "--name",
        "nightly",
    ]
    options += ["--label", "team=ml", "--label", "x=a=b", "--gate", "m > 1", "--service-account", "sa"]
    options += ["--pipeline-root", "s3://r", "--no-caching", "--key", "k", "--try", "3"]
    options += ["--on-retry", "retry_failed_tasks"]
    assert kfbridge("submit", training, "-a", "epochs=5", *options).code == 0
    body = sent(bridge)
    assert body["labels"] == {"team": "ml", "x": "a=b"}
    assert body["origin"]["scheduler"] == "cli"
    assert body["origin"]["try_number"] == 3
    expected = {
        "backend": "b",
        "project": "p",
        "namespace": "n",
        "experiment": "e",
        "display_name": "nightly",
        "gate": "m > 1",
        "service_account": "sa",
        "pipeline_root": "s3://r",
        "caching": False,
        "on_retry": "retry_failed_tasks",
    }
    assert {name: body[name] for name in expected} == expected
    headers = bridge.requests[0].headers
    assert (headers["idempotency-key"], headers["authorization"]) == ("k", "Bearer secret")


def test_arguments_are_read_by_their_declared_types(
    kfbridge: Shell, bridge: FakeBridge, training: str, tmp_path: Path
) -> None:
    (tmp_path / "options.json").write_text('{"depth": 3}')
    given = ["epochs=5", "lr=1e-3", "shuffle=True", "note=007", 'flights=["a", "b"]', "options=@options.json"]
    said = kfbridge("submit", training, *[word for text in given for word in ("-a", text)])
    assert said.code == 0, said.err
    assert sent(bridge)["arguments"] == {
        "epochs": 5,
        "lr": 0.001,
        "shuffle": True,
        "note": "007",
        "flights": ["a", "b"],
        "options": {"depth": 3},
    }


def test_a_text_that_begins_with_an_at_sign_is_written_with_two(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    assert kfbridge("submit", training, "-a", "epochs=1", "-a", "note=@@here").code == 0
    assert sent(bridge)["arguments"]["note"] == "@here"


def test_every_mistake_in_the_arguments_is_told_and_nothing_is_sent(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    said = kfbridge("submit", training, "-a", "epoch=5", "-a", "lr=fast", "-a", "shuffle=maybe")
    assert (said.code, said.out, bridge.requests) == (2, "", [])
    lines = said.err.splitlines()
    assert lines[0] == "kfbridge: the arguments do not fit the pipeline training; nothing was sent"
    for beginning in (
        "  training has no parameter epoch. Did you mean epochs?",
        "  lr takes a number (NUMBER_DOUBLE), not the text 'fast'.",
        "  shuffle takes ",
        "  epochs is missing",
        "    epochs  NUMBER_INTEGER, needed",
        "    lr  NUMBER_DOUBLE, default 0.1",
        "What to do: kfbridge submit ",
    ):
        assert sum(line.startswith(beginning) for line in lines) == 1, (beginning, said.err)


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("epochs=@missing.json", "epochs: missing.json cannot be read: No such file or directory"),
        ("epochs=@bad.json", "epochs: bad.json is no JSON"),
    ],
)
def test_a_file_that_is_no_json_is_told(
    argument: str, complaint: str, kfbridge: Shell, bridge: FakeBridge, training: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_text("{")
    said = kfbridge("submit", training, "-a", argument)
    assert said.code == 2
    assert complaint in said.err
    assert bridge.requests == []


def test_an_argument_given_twice_is_told(kfbridge: Shell, training: str) -> None:
    said = kfbridge("submit", training, "-a", "epochs=1", "-a", "epochs=2")
    assert (said.code, "epochs is given twice." in said.err) == (2, True)


@pytest.mark.parametrize("text", ["kind: Pod", "- 1", "a: [", "", "a: &x [*x]"])
def test_what_is_no_pipeline_is_refused(
    text: str, kfbridge: Shell, bridge: FakeBridge, tmp_path: Path
) -> None:
    (tmp_path / "p.yaml").write_text(text)
    said = kfbridge("submit", "p.yaml")
    assert said.code == 2
    assert "p.yaml is no pipeline that can be run; nothing was sent" in said.err
    assert bridge.requests == []


def test_a_file_that_is_not_there_is_told(kfbridge: Shell) -> None:
    said = kfbridge("submit", "no/such.yaml")
    assert (said.code, "no/such.yaml cannot be read: No such file or directory" in said.err) == (2, True)


def test_a_name_is_a_registered_pipeline(kfbridge: Shell, bridge: FakeBridge) -> None:
    assert kfbridge("submit", "flight-delay@v3", "-a", "epochs=5", "-a", "name=x").code == 0
    body = sent(bridge)
    assert body["pipeline"] == {"name": "flight-delay", "alias": "v3"}
    assert "spec" not in body
    assert body["arguments"] == {"epochs": 5, "name": "x"}


def test_inputs_are_sent_with_their_versions_and_fill_their_parameter(
    kfbridge: Shell, bridge: FakeBridge, training: str, tmp_path: Path
) -> None:
    (tmp_path / "day.csv").write_text("x")
    given = ["--input", "flights=day.csv", "--input", "flights=s3a://b/k"]
    assert kfbridge("submit", training, "-a", "epochs=1", *given).code == 0
    first, second = sent(bridge)["inputs"]
    assert (first["uri"], first["version_kind"]) == ((tmp_path / "day.csv").as_uri(), "sha256")
    assert second == {"name": "flights", "uri": "s3://b/k"}


def test_an_input_that_is_not_here_is_sent_with_a_note(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    said = kfbridge("submit", training, "-a", "epochs=1", "--input", "flights=/nowhere/at/all")
    assert said.code == 0
    assert "file:///nowhere/at/all is not on this machine, so its version is unknown" in said.err


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ("flight=s3://b/k", "the input flight has no parameter of that name. Did you mean flights?"),
        ("epochs=s3://b/k", "the input epochs is a URI, but epochs takes"),
        ("flights=", "input flights: an empty URI names nothing"),
    ],
)
def test_an_input_without_a_fitting_parameter_is_refused(
    given: str, complaint: str, kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    arguments = [] if given.startswith("epochs") else ["-a", "epochs=1"]
    said = kfbridge("submit", training, *arguments, "--input", given)
    assert said.code == 2
    assert complaint in said.err
    assert "missing" not in said.err
    assert bridge.requests == []


def test_a_refusal_of_the_bridge_is_told_line_by_line(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    errors = {"/backend": "there is no backend gpu; there are default, big"}
    bridge.trouble = [problem("unknown-backend", 422, "no such backend", errors=errors)]
    said = kfbridge("submit", training, "-a", "epochs=1", "--backend", "gpu")
    assert said.code == 2
    assert "the submission was refused: unknown backend" in said.err
    assert "  there is no backend gpu; there are default, big" in said.err
    assert "What to do: name one of the backends above" in said.err


def test_a_wrong_token_says_which_variable_to_set(kfbridge: Shell, bridge: FakeBridge, training: str) -> None:
    bridge.token = "right"
    said = kfbridge("submit", training, "-a", "epochs=1")
    assert said.code == 2
    assert "KFBRIDGE_TOKEN" in said.err


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ConnectError("refused"),
        httpx.Response(503),
        httpx.Response(200, html="<h1>Sign in</h1>"),
        problem("database-unavailable", 503, "the database is away", retryable=True),
    ],
    ids=["refused", "gateway", "login", "database"],
)
def test_a_bridge_that_cannot_be_reached_is_exit_code_5(
    trouble: httpx.Response | Exception, kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    bridge.trouble = [trouble]
    said = kfbridge("submit", training, "-a", "epochs=1", "--patience", "0")
    assert (said.code, said.out) == (5, "")
    assert "What to do: " in said.err


@pytest.mark.parametrize("url", ["nonsense", "ftp://host"])
def test_an_address_that_is_none_is_told(url: str, kfbridge: Shell, training: str) -> None:
    said = kfbridge("submit", training, "-a", "epochs=1", "--url", url)
    assert (said.code, "--url or KFBRIDGE_URL" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("state", "changes", "code"),
    [
        ("SUCCEEDED", {}, 0),
        ("SKIPPED", {}, 0),
        ("FAILED", {}, 1),
        ("FAILED", {"phase": "REJECTED"}, 1),
        ("CANCELED", {}, 3),
    ],
)
def test_waiting_tells_the_end_by_the_exit_code(
    state: str, changes: dict[str, Any], code: int, kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    run = bridge.add(make_run(state="PENDING", phase="QUEUED"), {"state": "RUNNING"}, over(state, **changes))
    bridge.tasks[run.run_id] = [make_task(""), make_task("train")]
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait")
    assert said.code == code
    assert state in said.out.splitlines()[0]
    assert f"run {run.run_id}" in said.err


def test_each_change_is_a_line_where_there_is_no_terminal(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    run = bridge.add(make_run(state="PENDING"), {"state": "RUNNING"}, {}, over())
    bridge.tasks[run.run_id] = [make_task(""), make_task("train"), make_task("loop[0].eval", "PENDING")]
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait")
    words = [line.split()[1:3] for line in said.err.splitlines()[1:]]
    assert words == [["PENDING", "toy"], ["SUCCEEDED", "train"], ["RUNNING", "toy"], ["SUCCEEDED", "toy"]]


def test_the_result_as_json_holds_outputs_metrics_and_artifacts(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    run = bridge.add(make_run(), over())
    bridge.tasks[run.run_id] = [make_task("", outputs={"auc": 0.7})]
    bridge.metrics[run.run_id] = [MetricModel(key="train.auc", task_path="train", name="auc", value=0.7)]
    bridge.artifacts[run.run_id] = [make_artifact(run, "train.model")]
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait", "--json")
    assert (said.code, said.err) == (0, "")
    assert said.json["state"] == "SUCCEEDED"
    assert said.json["outputs"] == {"auc": 0.7}
    assert said.json["metrics"] == {"train.auc": 0.7}
    assert said.json["artifacts"]["train.model"]["uri"].startswith("s3://models/")


def test_a_timeout_is_exit_code_4_and_says_that_the_run_goes_on(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    run = bridge.add(make_run())
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait", "--timeout", "10ms")
    assert said.code == 4
    assert "it goes on" in said.err
    assert f"kfbridge cancel {str(run.run_id)[:8]}" in said.err


def interrupt_the_first_wait(request: httpx.Request) -> httpx.Response | None:
    if "wait" in request.url.params:
        raise KeyboardInterrupt
    return None


def test_an_interruption_leaves_the_run_and_says_how_to_stop_it(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    run = bridge.add(make_run())
    bridge.refuse = interrupt_the_first_wait
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait")
    assert said.code == 130
    assert f"stop it with 'kfbridge cancel {str(run.run_id)[:8]}'" in said.err
    assert bridge.asked("POST", ":cancel$") == []


def test_an_interruption_cancels_the_run_if_asked(kfbridge: Shell, bridge: FakeBridge, training: str) -> None:
    bridge.add(make_run())
    bridge.refuse = interrupt_the_first_wait
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait", "--cancel-on-interrupt")
    assert (said.code, "is being canceled" in said.err) == (130, True)
    assert len(bridge.asked("POST", ":cancel$")) == 1


@pytest.mark.parametrize(("options", "code"), [([], 0), (["--require-gate"], 1)])
def test_a_gate_that_did_not_pass_fails_only_whoever_requires_it(
    options: list[str], code: int, kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    gate = GateModel(expression="train.auc > 0.9", passed=False, numbers={"train.auc": 0.7}, reason="too low")
    bridge.add(make_run(), over(gate=gate, good=False))
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait", *options)
    assert said.code == code
    assert "not passed: too low (train.auc = 0.7)" in said.out


def test_options_that_would_do_nothing_are_refused(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    said = kfbridge("submit", training, "-a", "epochs=1", "--timeout", "5m")
    assert (said.code, "only make sense with --wait" in said.err) == (2, True)
    assert bridge.requests == []


def test_errors_are_json_where_json_was_asked_for(kfbridge: Shell, training: str) -> None:
    said = kfbridge("submit", training, "--json")
    error = json.loads(said.err)
    assert (said.code, error["exit_code"], said.out) == (2, 2, "")
    assert any("epochs is missing" in detail for detail in error["details"])


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--key", ""], "--key is empty"),
        (["--key", " "], "--key is empty"),
        (["--try", "2"], "--try 2 only makes sense with --key"),
        (["--key", "k", "--try", "0"], "argument --try"),
        (["--key", "k", "--try", "-1"], "argument --try"),
    ],
)
def test_a_key_or_try_that_makes_no_sense_is_wrong_usage(
    options: list[str], complaint: str, kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    said = kfbridge("submit", training, "-a", "epochs=1", *options)
    assert (said.code, said.out, bridge.requests) == (2, "", [])
    assert complaint in said.err


def test_a_warning_that_comes_while_waiting_is_told_once(
    kfbridge: Shell, bridge: FakeBridge, training: str
) -> None:
    away = {"warnings": ["kfp answers HTTP 503"], "state": "RUNNING"}
    bridge.add(make_run(), away, away, over())
    said = kfbridge("submit", training, "-a", "epochs=1", "--wait")
    assert said.code == 0, said.err
    assert said.err.count("warning: kfp answers HTTP 503") == 1
