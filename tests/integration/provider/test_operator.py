"""The operator in real DagRuns: what it sends, how it waits, and what Airflow gets back."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bridge.client.models import ArtifactModel, ArtifactUseModel, ErrorModel, GateModel, MetricModel
from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.airflow_version import needs
from tests.support.fake_bridge import End, FakeBridge, Seen, a_task, problem

pytestmark = [
    pytest.mark.airflow,
    # Airflow's execution_timeout uses the alarm that pytest-timeout uses by default.
    pytest.mark.timeout(120, method="thread"),
]

RunDag = Callable[..., Ran]
HEAD = """
from datetime import timedelta
from airflow.sdk import DAG, Asset, AssetAlias, task
from bridge.provider.operators import KubeflowPipelineOperator
"""


def one_task(options: str, *, dag_options: str = "") -> str:
    return (
        HEAD
        + f"""
with DAG("training", {dag_options}) as dag:
    KubeflowPipelineOperator(task_id="train", pipeline="pipelines/training.yaml", {options})
"""
    )


def the_run(fake: FakeBridge) -> str:
    (run_id,) = fake.runs
    return run_id


def waits(seen: Seen) -> bool:
    """Whether this is how a waiter asks for its run: a worker by long-polls, a triggerer's hub by ids."""
    return "wait" in seen.query or "ids" in seen.query


def submissions(fake: FakeBridge) -> list[Seen]:
    return [seen for seen in fake.requests if (seen.method, seen.path) == ("POST", "/api/v1/runs")]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_run_that_succeeds(fake: FakeBridge, run_dag: RunDag, deferrable: bool) -> None:
    fake.next_end = End(tasks=(a_task("", outputs={"accuracy": 0.9}), a_task("train")))
    ran = run_dag(one_task(f"arguments={{'epochs': 3}}, deferrable={deferrable}"))
    assert ran.state == "success"
    stored = fake.runs[the_run(fake)]
    reference = ran.xcom("train")
    assert reference["run_id"] == str(stored.run.run_id)
    assert reference["state"] == "SUCCEEDED"
    assert reference["outputs"] == {"accuracy": 0.9}
    assert ran.xcom("train", "run_id") == str(stored.run.run_id)
    assert ran.xcom("train", "_link_BridgeRunLink") == stored.run.links.bridge
    assert ran.xcom("train", "_link_KfpRunLink") == stored.run.links.kfp


def test_every_field_is_sent_rendered_also_nested(fake: FakeBridge, run_dag: RunDag) -> None:
    ran = run_dag(
        one_task(
            """
            arguments={"epochs": "{{ params.epochs }}", "note": "{{ ti.task_id }}", "shuffle": "{{ 1 > 2 }}",
                       "flights": ["s3://b/{{ params.day }}"], "rate": 1},
            experiment="{{ dag.dag_id }}-nightly", namespace="team-{{ params.day }}",
            labels={"day": "{{ params.day }}"},
            display_name="train {{ params.day }}", service_account="sa",
            pipeline_root="s3://root/{{ params.day }}",
            caching="{{ 'false' }}", gate="evaluate.auc >= {{ params.epochs }}", backend="{{ 'gpu' }}",
            project="{{ 'winter' }}", on_retry="retry_failed_tasks", on_clear="adopt", gate_action="continue",
            """,
            dag_options="params={'epochs': 7, 'day': 'monday'}",
        )
    )
    assert ran.state == "success"
    request = fake.runs[the_run(fake)].request
    assert request.arguments == {
        "epochs": 7,
        "note": "train",
        "shuffle": False,
        "flights": ["s3://b/monday"],
        "rate": 1,
    }
    assert (request.experiment, request.namespace) == ("training-nightly", "team-monday")
    assert request.labels == {"day": "monday"}
    assert (request.display_name, request.service_account) == ("train monday", "sa")
    assert (request.pipeline_root, request.caching) == ("s3://root/monday", False)
    assert (request.gate, request.backend, request.project) == ("evaluate.auc >= 7", "gpu", "winter")
    assert (request.on_retry, request.on_clear) == ("retry_failed_tasks", "adopt")
    assert request.spec is not None
    assert "training" in request.spec


def test_templates_are_rendered_however_deep_they_lie(fake: FakeBridge, run_dag: RunDag) -> None:
    source = one_task(
        """
        arguments={"epochs": 1, "note": "{{ params.day }}"},
        inputs={"flights": [{"uri": "s3://b/{{ params.day }}", "version": "v-{{ params.epochs }}"}]},
        labels="{{ {'day': params.day} }}",
        """,
        dag_options="params={'epochs': 7, 'day': 'monday'}, render_template_as_native_obj=True",
    )
    deep = source.replace('"note": "{{ params.day }}"', '"note": "x", "shuffle": "{{ params.epochs > 6 }}"')
    assert run_dag(deep).state == "success"
    request = fake.runs[the_run(fake)].request
    assert [(item.uri, item.version) for item in request.inputs] == [("s3://b/monday", "v-7")]
    assert (request.labels, request.arguments) == (
        {"day": "monday"},
        {"epochs": 1, "note": "x", "shuffle": True},
    )


def test_the_origin_names_the_task_instance(fake: FakeBridge, run_dag: RunDag) -> None:
    ran = run_dag(one_task("arguments={'epochs': 1}, retries=2"))
    request = fake.runs[the_run(fake)].request
    origin = request.origin
    assert (origin.scheduler, origin.deployment) == ("airflow", "test-airflow")
    assert (origin.dag_id, origin.dag_run_id, origin.task_id) == ("training", ran.dag_run.run_id, "train")
    assert (origin.map_index, origin.try_number, origin.max_tries) == (-1, 1, 2)
    assert origin.dag_run_start == ran.dag_run.start_date
    assert origin.logical_date == ran.dag_run.logical_date
    assert origin.user == "dag_test"
    assert origin.url is not None
    assert origin.url.startswith("http://airflow.example/dags/training/runs/manual__")
    assert request.project == "flights"
    assert {seen.token for seen in fake.requests} == {"let-me-in"}


def test_a_registered_pipeline_goes_by_name(fake: FakeBridge, run_dag: RunDag) -> None:
    source = one_task("arguments={'anything': 1, 'epochs': '{{ 1 + 2 }}'}").replace(
        '"pipelines/training.yaml"', "{'name': 'flight-delay', 'version': '{{ 40 + 2 }}'}"
    )
    assert run_dag(source).state == "success"
    request = fake.runs[the_run(fake)].request
    assert request.pipeline is not None
    assert (request.pipeline.name, request.pipeline.version, request.spec) == ("flight-delay", "42", None)
    # What its type is only the bridge knows.
    assert (request.arguments, request.text_arguments) == ({"anything": 1, "epochs": "3"}, ["epochs"])


@pytest.mark.parametrize(
    ("pipeline", "alias"),
    [
        ("'flight-delay@prod'", "prod"),
        ("'flight-delay@{{ params.stage }}'", "canary"),
        ("{'name': 'flight-delay', 'alias': '{{ params.stage }}'}", "canary"),
        ("{'name': 'flight-delay', 'alias': '{{ params.none }}'}", None),
    ],
)
def test_a_pipeline_goes_by_its_alias(
    fake: FakeBridge, run_dag: RunDag, pipeline: str, alias: str | None
) -> None:
    source = one_task("arguments={'anything': 1}", dag_options="params={'stage': 'canary', 'none': None}")
    assert run_dag(source.replace('"pipelines/training.yaml"', pipeline)).state == "success"
    request = fake.runs[the_run(fake)].request
    assert request.pipeline is not None
    assert (request.pipeline.name, request.pipeline.alias, request.spec) == ("flight-delay", alias, None)


def test_mapped_tasks_are_runs_of_their_own(fake: FakeBridge, run_dag: RunDag) -> None:
    source = (
        HEAD
        + """
with DAG("training") as dag:
    KubeflowPipelineOperator.partial(
        task_id="train", pipeline="pipelines/training.yaml", on_kill="detach"
    ).expand(arguments=[{"epochs": 1}, {"epochs": 2}])
"""
    )
    ran = run_dag(source)
    assert ran.state == "success"
    sent = {stored.request.origin.map_index: stored.request.arguments for stored in fake.runs.values()}
    assert sent == {0: {"epochs": 1}, 1: {"epochs": 2}}
    assert ran.xcom("train", map_index=0)["run_id"] != ran.xcom("train", map_index=1)["run_id"]


def test_not_waiting_returns_at_once_whatever_the_default_says(
    fake: FakeBridge, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    fake.next_end = None
    ran = run_dag(one_task("arguments={'epochs': 1}, wait=False"))
    assert ran.state == "success"
    assert ran.xcom("train")["state"] == "RUNNING"
    assert ran.xcom("train")["run_id"] == the_run(fake)


@pytest.mark.parametrize(
    ("options", "promises"),
    [("", True), ("deferrable=False", True), ("wait=False", False), ("on_kill='detach'", False)],
)
def test_the_bridge_is_told_who_will_wait(
    fake: FakeBridge, run_dag: RunDag, options: str, promises: bool
) -> None:
    run_dag(one_task(f"arguments={{'epochs': 3}}, {options}"))
    assert [seen.promises_to_wait for seen in submissions(fake)] == [promises]


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_failed_run_fails_the_task_with_component_and_log(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str], deferrable: bool
) -> None:
    error = ErrorModel(
        message="exit code 1", task="loop.train", log_tail=["Traceback …", "ValueError: no rows"]
    )
    fake.next_end = End(state="FAILED", error=error, tasks=(a_task("loop.train", state="FAILED"),))
    ran = run_dag(one_task(f"arguments={{'epochs': 1}}, deferrable={deferrable}"))
    assert ran.state == "failed"
    output = capfd.readouterr().out
    assert "The component that failed is 'loop.train'" in output
    assert "| ValueError: no rows" in output
    assert "ended FAILED: component 'loop.train': exit code 1" in output
    assert "loop.train: FAILED" in output
    assert ran.xcom("train")["state"] == "FAILED"


def test_a_retry_of_a_failed_run_gets_a_new_one(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = End(state="FAILED", error=ErrorModel(message="flaky"))

    def heal(seen: Seen) -> None:
        if len(submissions(fake)) == 2:
            fake.next_end = End()

    fake.on_request = heal
    ran = run_dag(one_task("arguments={'epochs': 1}, retries=2, retry_delay=timedelta(0)"))
    assert ran.state == "success"
    assert ran.task("train").try_number == 2
    assert [stored.run.attempt for stored in fake.runs.values()] == [1, 2]
    assert [seen.body["origin"]["try_number"] for seen in submissions(fake)] == [1, 2]


def test_what_the_backend_refuses_is_not_tried_again(fake: FakeBridge, run_dag: RunDag) -> None:
    refused = ErrorModel(message="service account ml is not allowed", code="PermissionDenied")
    fake.next_end = End(state="FAILED", phase="REJECTED", error=refused)
    ran = run_dag(one_task("arguments={'epochs': 1}, retries=3, retry_delay=timedelta(0)"))
    assert ran.state == "failed"
    assert len(submissions(fake)) == 1


def test_what_the_bridge_refuses_is_not_tried_again_and_named(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.problems = [
        problem(
            422,
            "invalid-gate",
            "the gate is no CEL expression",
            errors=[{"pointer": "/gate", "detail": "unexpected end"}],
        )
    ]
    ran = run_dag(one_task("arguments={'epochs': 1}, gate='evaluate.auc >', retries=3"))
    assert ran.state == "failed"
    assert len(submissions(fake)) == 1
    assert "invalid-gate" in (output := capfd.readouterr().out)
    assert "/gate: unexpected end" in output


def test_arguments_from_an_xcom_are_checked_before_anything_is_sent(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    source = (
        HEAD
        + """
@task
def choose():
    return "many"

with DAG("training") as dag:
    KubeflowPipelineOperator(
        task_id="train", pipeline="pipelines/training.yaml", arguments={"epochs": choose()}, retries=3
    )
"""
    )
    ran = run_dag(source)
    assert ran.state == "failed"
    assert submissions(fake) == []
    assert "/arguments/epochs: epochs takes an integer" in capfd.readouterr().out


GATE = GateModel(expression="evaluate.auc >= 0.9", passed=False, reason="evaluate.auc is 0.5")


@pytest.mark.parametrize(
    ("action", "train", "act"),
    [
        ("fail", "failed", "upstream_failed"),
        ("skip", "skipped", "skipped"),
        ("continue", "success", "success"),
    ],
)
def test_a_gate_that_does_not_pass(
    fake: FakeBridge, run_dag: RunDag, action: str, train: str, act: str
) -> None:
    fake.next_end = End(gate=GATE)
    source = (
        HEAD
        + f"""
@task
def act(reference):
    from bridge.provider.xcom import gate_passed
    return gate_passed(reference)

with DAG("training") as dag:
    train = KubeflowPipelineOperator(
        task_id="train", pipeline="pipelines/training.yaml", arguments={{"epochs": 1}},
        gate="evaluate.auc >= 0.9", gate_action={action!r}, retries=2, retry_delay=timedelta(0),
    )
    act(train.output)
"""
    )
    ran = run_dag(source)
    assert ran.task("train").state == train
    assert ran.task("act").state == act
    assert ran.xcom("train")["gate"]["reason"] == "evaluate.auc is 0.5"
    assert len(submissions(fake)) == 1
    if action == "continue":
        assert ran.xcom("act") is False


def _model(run: str, uri: str) -> ArtifactModel:
    use = ArtifactUseModel(run_id=run, task_path="train", key="model", direction="OUTPUT")
    return ArtifactModel(
        artifact_id="0a0a0a0a-0000-4000-8000-000000000001",
        type="system.Model",
        uri=uri,
        digest="abc",
        uses=[use],
    )


@needs(3, 3, "events in dag.test() of assets that no other DAG names")
def test_outlets_get_events_with_the_runs_facts(fake: FakeBridge, run_dag: RunDag) -> None:
    def give_a_model(seen: Seen) -> None:
        if fake.runs and waits(seen):
            stored = fake.runs[the_run(fake)]
            stored.end = End(
                artifacts=(_model(str(stored.run.run_id), "s3://models/7"),),
                metrics=(MetricModel(key="evaluate.auc", task_path="evaluate", name="auc", value=0.97),),
                gate=GATE.model_copy(update={"passed": True}),
            )

    fake.on_request = give_a_model
    ran = run_dag(
        one_task(
            "arguments={'epochs': 1}, gate='evaluate.auc >= 0.9',"
            "outlets=[Asset('delay-model', uri='s3://models/delay'), AssetAlias('models')]"
        )
    )
    assert ran.state == "success"
    (extra,) = ran.asset_events("s3://models/delay")
    assert extra["run_id"] == the_run(fake)
    assert extra["metrics"] == {"evaluate.auc": 0.97}
    assert extra["good"] is True
    assert extra["models"][0]["uri"] == "s3://models/7"
    assert extra["gate"]["passed"] is True
    (alias_extra,) = ran.asset_events("s3://models/7")
    assert alias_extra["model"]["key"] == "train.model"
    assert ran.xcom("train")["artifacts"]["train.model"]["uri"] == "s3://models/7"


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_outage_while_waiting_fails_nothing(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str], deferrable: bool
) -> None:
    def go_away_once(seen: Seen) -> None:
        if waits(seen):
            fake.outages = 1
            fake.on_request = None

    fake.on_request = go_away_once
    ran = run_dag(one_task(f"arguments={{'epochs': 1}}, deferrable={deferrable}"))
    assert ran.state == "success"
    output = capfd.readouterr().out
    assert "The bridge cannot be asked" in output
    assert "The bridge answers again" in output


def test_an_outage_at_submission_is_waited_for_without_a_slot(
    fake: FakeBridge, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bridge.provider.operators._SLOT_SECONDS", 0.0)
    fake.outages = 2
    ran = run_dag(one_task("arguments={'epochs': 1}"))
    assert ran.state == "success"
    assert "Waiting for the bridge without a worker's slot" in capfd.readouterr().out
    assert len(fake.runs) == 1


def test_patience_ends_and_the_task_fails_with_the_cause(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.outages = 1000
    ran = run_dag(one_task("arguments={'epochs': 1}, patience_seconds=0.2"))
    assert ran.state == "failed"
    assert "the bridge at http://127.0.0.1" in capfd.readouterr().out


@pytest.mark.parametrize("deferrable", [True, False])
@pytest.mark.parametrize("limit", ["timeout", "execution_timeout"])
def test_a_timeout_cancels_the_run(fake: FakeBridge, run_dag: RunDag, deferrable: bool, limit: str) -> None:
    fake.next_end = None
    ran = run_dag(
        one_task(f"arguments={{'epochs': 1}}, deferrable={deferrable}, {limit}=timedelta(seconds=1.5)")
    )
    assert ran.state == "failed"
    ((run_id, body),) = fake.cancels
    assert run_id == the_run(fake)
    assert (body["try_number"], body["key"]) == (1, str(fake.runs[run_id].run.submission_key))


def test_a_timeout_leaves_a_detached_run_alone(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = None
    ran = run_dag(one_task("arguments={'epochs': 1}, timeout=0.3, on_kill='detach'"))
    assert ran.state == "failed"
    assert fake.cancels == []


@pytest.fixture
def sigterm_restored() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("sigterm_restored")
@pytest.mark.parametrize(("retries", "cancelled"), [(0, True), (2, False)])
def test_a_stopped_worker_cancels_only_what_nobody_will_follow(
    fake: FakeBridge, run_dag: RunDag, retries: int, cancelled: bool
) -> None:
    fake.next_end = None

    def stop_the_worker(seen: Seen) -> None:
        if waits(seen) and len(submissions(fake)) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        elif len(submissions(fake)) == 2:
            fake.runs[the_run(fake)].end = End()

    fake.on_request = stop_the_worker
    ran = run_dag(
        one_task(f"arguments={{'epochs': 1}}, deferrable=False, retries={retries}, retry_delay=timedelta(0)"),
    )
    assert bool(fake.cancels) is cancelled
    if cancelled:
        assert ran.state == "failed"
    else:
        # The next try found the run still going on, and took it over.
        assert len(fake.runs) == 1
        assert [seen.body["origin"]["try_number"] for seen in submissions(fake)] == [1, 2]


def test_a_deferrable_task_that_dies_after_its_submission_goes_on_with_its_run(
    fake: FakeBridge, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bridge.provider.operators import KubeflowPipelineOperator

    going_on, died = KubeflowPipelineOperator._go_on, []

    def die_once(self: KubeflowPipelineOperator, *args: Any) -> Any:
        if not died:
            died.append(True)
            raise RuntimeError("the worker dies before it is deferred")
        return going_on(self, *args)

    monkeypatch.setattr(KubeflowPipelineOperator, "_go_on", die_once)
    ran = run_dag(one_task("arguments={'epochs': 1}, retries=1, retry_delay=timedelta(0)"))
    assert ran.state == "success"
    assert ran.task("train").try_number == 2
    (run_id,) = fake.runs
    assert ran.xcom("train")["run_id"] == run_id
    assert fake.cancels == []


@pytest.mark.filterwarnings(IGNORED)
def test_the_example(fake: FakeBridge, run_example: RunDag) -> None:
    ran = run_example("hello_pipeline.py", "hello_kubeflow", run_conf={"name": "moon"})
    assert ran.state == "success"
    (stored,) = fake.runs.values()
    assert stored.request.arguments == {"name": "moon"}
    assert ran.xcom("hello")["run_id"] in fake.runs
