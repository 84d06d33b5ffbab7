"""A pipeline's tasks as Airflow tasks, in real DagRuns: their states, logs, references and retries."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pyarrow
import pytest
from pyarrow import parquet

from bridge.client.models import (
    ArtifactModel,
    ArtifactUseModel,
    ErrorModel,
    GateModel,
    MetricModel,
    TaskModel,
)
from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.airflow_version import needs
from tests.support.fake_bridge import End, FakeBridge, Seen, a_task, problem

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(180, method="thread")]

RunDag = Callable[..., Ran]
COMPILED = Path(__file__).parents[3] / "kfp_pipelines" / "compiled"
BODY = "exit-handler-1"
SUM = f"{BODY}.sum-of-squares"
BRANCHES = f"{BODY}.condition-branches-2"
SAY, NOT_SAY = f"{BRANCHES}.condition-3.say", f"{BRANCHES}.condition-4.say-2"


@pytest.fixture(autouse=True)
def short_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.provider.task_waiting.SHORTEST_INTERVAL_SECONDS", 0.05)


def a_group(pipeline: str = "shapes", options: str = "", *, more: str = "") -> str:
    return f"""
from datetime import timedelta
from airflow.sdk import DAG, Asset, AssetAlias, task
from bridge.provider.compat import AirflowSkipException
from bridge.provider.taskgroup import KubeflowPipelineTaskGroup

# A DAG of its own: clearing reads the newest DAG that Airflow has stored under its id.
with DAG("shapes_{uuid4().hex}") as dag:
    group = KubeflowPipelineTaskGroup("kfp", pipeline={str(COMPILED / f"{pipeline}.yaml")!r}, {options})
{more}
"""


def shapes(**states: str) -> tuple[TaskModel, ...]:
    """The tasks that KFP has of a run of ``shapes`` whose condition holds."""
    paths = {
        BODY: "dag",
        SUM: "dag",
        f"{SUM}.for-loop-1": "dag",
        f"{SUM}.for-loop-1[0]": "dag",
        f"{SUM}.for-loop-1[0].square": "container",
        f"{SUM}.for-loop-1[1]": "dag",
        f"{SUM}.for-loop-1[1].square": "container",
        f"{SUM}.add": "container",
        BRANCHES: "dag",
        f"{BRANCHES}.condition-3": "dag",
        SAY: "container",
        f"{BRANCHES}.condition-4": "dag",
        "conclude": "container",
    }
    usual = {f"{BRANCHES}.condition-4": "SKIPPED"}
    tasks = []
    for path, kind in paths.items():
        last = path.rsplit(".", 1)[-1]
        state = states.get(last.replace("-", "_"), usual.get(path, "SUCCEEDED"))
        if state != "ABSENT":
            iteration = int(path[-2]) if path.endswith("]") else None
            tasks.append(a_task(path, state, kind=kind, iteration=iteration))
    return tuple(tasks)


def states(ran: Ran) -> dict[str, str]:
    return {ti.task_id.removeprefix("kfp."): str(ti.state) for ti in ran.dag_run.get_task_instances()}


def submissions(fake: FakeBridge) -> list[Seen]:
    return [seen for seen in fake.requests if (seen.method, seen.path) == ("POST", "/api/v1/runs")]


def artifact_of(fake: FakeBridge, path: str, key: str) -> ArtifactModel:
    (run_id,) = fake.runs
    use = ArtifactUseModel(run_id=run_id, task_path=path, key=key, direction="OUTPUT")
    return ArtifactModel(
        artifact_id="0a0a0a0a-0000-4000-8000-000000000001", type="system.Model", uri="s3://m/7", uses=[use]
    )


@pytest.mark.parametrize("deferrable", [True, False])
def test_each_task_has_its_own_state_and_reference(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str], deferrable: bool
) -> None:
    def give_results(seen: Seen) -> None:
        if fake.runs and {"wait", "ids"} & seen.query.keys():
            metrics = (
                MetricModel(key="add.total", task_path=f"{SUM}.add", name="total", value=14),
                MetricModel(key="say.x", task_path=SAY, name="x", value=1),
            )
            tasks = tuple(
                task.model_copy(update={"outputs": {"Output": 14}}) if task.name == "add" else task
                for task in shapes()
            )
            end = End(tasks=tasks, metrics=metrics, artifacts=(artifact_of(fake, f"{SUM}.add", "scores"),))
            next(iter(fake.runs.values())).end = end

    fake.on_request = give_results
    ran = run_dag(a_group(options=f"deferrable={deferrable}"))
    assert ran.state == "success"
    assert states(ran) == {
        "submit": "success",
        f"{SUM}.for-loop-1": "success",
        f"{SUM}.add": "success",
        SAY: "success",
        NOT_SAY: "skipped",
        "conclude": "success",
        "tasks_done": "success",
        "finish": "success",
    }
    assert len(submissions(fake)) == 1
    run = next(iter(fake.runs.values())).run
    add = ran.xcom(f"kfp.{SUM}.add")
    assert (add["run_id"], add["task"], add["state"]) == (str(run.run_id), f"{SUM}.add", "SUCCEEDED")
    assert (add["outputs"], add["metrics"]) == ({"Output": 14}, {"add.total": 14})
    assert set(add["artifacts"]) == {f"{SUM}.add.scores"}
    assert ran.xcom(f"kfp.{SAY}")["artifacts"] == {}
    assert ran.xcom(f"kfp.{SUM}.add", "_link_BridgeRunLink") == run.links.bridge
    loop = ran.xcom(f"kfp.{SUM}.for-loop-1")
    assert loop["iterations"] == [
        {"iteration": n, "state": "SUCCEEDED", "cached": False, "outputs": {}} for n in (0, 1)
    ]
    assert loop["iteration_states"] == {"SUCCEEDED": 2}
    assert ran.xcom("kfp.finish")["metrics"] == {"add.total": 14, "say.x": 1}
    output = capfd.readouterr().out
    assert f"its branch was not taken: '{BRANCHES}.condition-4' ended SKIPPED" in output
    assert f"KFP task {SUM}.add: SUCCEEDED" in output
    assert "[1]: SUCCEEDED" in output


def test_a_task_that_fails_fails_alone_and_finish_tells_why(
    fake: FakeBridge, run_dag: RunDag, capfd: pytest.CaptureFixture[str]
) -> None:
    error = ErrorModel(message="exit code 1", task=f"{SUM}.add", log_tail=["ValueError: no rows"])
    tasks = tuple(
        task.model_copy(update={"error": error}) if task.name == "add" else task
        for task in shapes(
            exit_handler_1="FAILED", sum_of_squares="FAILED", add="FAILED", condition_branches_2="ABSENT",
            condition_3="ABSENT", say="ABSENT", condition_4="ABSENT",
        )
    )  # fmt: skip
    fake.next_end = End(state="FAILED", tasks=tasks, error=error)
    ran = run_dag(a_group())
    assert ran.state == "failed"
    assert states(ran) == {
        "submit": "success",
        f"{SUM}.for-loop-1": "success",
        f"{SUM}.add": "failed",
        SAY: "upstream_failed",
        NOT_SAY: "upstream_failed",
        # The exit task runs whichever way the work before it ended, here as in KFP.
        "conclude": "success",
        "tasks_done": "success",
        "finish": "failed",
    }
    assert ran.xcom(f"kfp.{SUM}.add")["state"] == "FAILED"
    assert ran.xcom("kfp.finish")["state"] == "FAILED"
    output = capfd.readouterr().out
    assert f"KFP task '{SUM}.add' ended FAILED: exit code 1" in output
    assert "| ValueError: no rows" in output
    assert fake.retries == []


def test_a_retry_of_a_task_retries_the_runs_failed_tasks(fake: FakeBridge, run_dag: RunDag) -> None:
    failed = shapes(exit_handler_1="FAILED", sum_of_squares="FAILED", add="FAILED", say="ABSENT")
    again = [task.model_copy(update={"task_id": f"second-{task.path}"}) for task in shapes()]
    fake.next_end = End(state="FAILED", tasks=failed)

    def heal(seen: Seen) -> None:
        if seen.path.endswith(":retry"):
            fake.next_end = End(tasks=(*failed, *again))

    fake.on_request = heal
    ran = run_dag(a_group(options="default_args={'retries': 1, 'retry_delay': timedelta(0)}"))
    assert ran.state == "success"
    assert ran.task(f"kfp.{SUM}.add").try_number == 2
    assert ran.task("kfp.finish").try_number == 1
    (run_id,) = fake.runs
    assert fake.retries == [run_id]
    assert len(submissions(fake)) == 1
    assert states(ran)[SAY] == "success"


def test_what_fails_again_is_not_retried_for_ever(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = End(state="FAILED", tasks=(a_task("prepare", "FAILED"),))
    ran = run_dag(
        a_group("failing", "default_args={'retries': 2, 'retry_delay': timedelta(0)}, arguments={}"),
    )
    assert ran.state == "failed"
    assert ran.task("kfp.prepare").try_number == 3
    assert ran.task("kfp.finish").try_number == 1
    assert len(fake.retries) == 2
    assert states(ran)["explode"] == "upstream_failed"


def test_clearing_a_task_of_a_failed_run_retries_it_in_place(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.next_end = End(state="FAILED", tasks=(a_task("prepare"), a_task("explode", "FAILED")))
    source = a_group("failing", "arguments={}")
    ran = run_dag(source)
    assert states(ran)["explode"] == "failed"
    assert fake.retries == []
    fake.next_end = End(tasks=(a_task("prepare"), a_task("explode")))
    ran.clear_and_run("kfp.explode", "kfp.tasks_done", "kfp.finish")
    assert ran.state == "success"
    assert (states(ran)["explode"], states(ran)["finish"]) == ("success", "success")
    (run_id,) = fake.runs
    assert fake.retries == [run_id]
    assert len(submissions(fake)) == 1
    # A task whose KFP task succeeded is only read again, and retries nothing.
    ran.clear_and_run("kfp.prepare")
    assert states(ran)["prepare"] == "success"
    assert fake.retries == [run_id]


@needs(3, 3, "place where a task keeps something for its next try")
def test_two_failed_tasks_cleared_together_ask_for_one_retry(fake: FakeBridge, run_dag: RunDag) -> None:
    ran_again = {"condition_3": "FAILED", "say": "FAILED", "conclude": "FAILED"}
    fake.next_end = End(state="FAILED", tasks=shapes(**ran_again))
    ran = run_dag(a_group())
    assert (states(ran)[SAY], states(ran)["conclude"]) == ("failed", "failed")
    ran.clear_and_run(f"kfp.{SAY}", "kfp.conclude", "kfp.tasks_done", "kfp.finish")
    # The second life failed as the first: whoever comes later sees that a retry was made since its last try.
    assert (states(ran)[SAY], states(ran)["conclude"]) == ("failed", "failed")
    assert len(fake.retries) == 1
    ran.clear_and_run("kfp.conclude", "kfp.tasks_done", "kfp.finish")
    assert len(fake.retries) == 2


def test_an_outage_at_any_moment_fails_nothing(
    fake: FakeBridge, run_dag: RunDag, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.provider.taskgroup_operators._SLOT_SECONDS", 0.0)
    monkeypatch.setattr("bridge.provider.waiting.LONGEST_PAUSE_SECONDS", 0.1)
    fake.next_end = End(tasks=(a_task("greet"),))
    draw = random.Random(7)

    def come_and_go(seen: Seen) -> None:
        if seen.method == "GET" and draw.random() < 0.3:
            fake.outages = 1

    fake.on_request = come_and_go
    ran = run_dag(a_group("hello", "arguments={'name': 'x'}"))
    assert states(ran)["greet"] == "success"


def test_a_submission_that_fails_leaves_everything_upstream_failed(fake: FakeBridge, run_dag: RunDag) -> None:
    fake.problems = [problem(422, "unknown-backend", "there is no backend gpu")]
    ran = run_dag(a_group(options="backend='gpu'"))
    assert ran.state == "failed"
    found = states(ran)
    assert (found.pop("submit"), found.pop("tasks_done")) == ("failed", "success")
    # The exit task stands behind all others, whichever way they ended: there is nothing to tell of.
    assert found.pop("conclude") == "skipped"
    assert set(found.values()) == {"upstream_failed"}
    assert len(fake.requests) == 1


def test_a_group_whose_upstream_is_skipped_is_skipped(fake: FakeBridge, run_dag: RunDag) -> None:
    more = """
    @task
    def nothing_to_do():
        raise AirflowSkipException("no data")

    nothing_to_do() >> group
"""
    ran = run_dag(a_group(more=more))
    found = states(ran)
    assert found.pop("tasks_done") == "success"
    assert set(found.values()) == {"skipped"}
    assert fake.requests == []


GATE = GateModel(expression="add.total > 20", passed=False, reason="add.total is 14")


@pytest.mark.parametrize(
    ("action", "finish"), [("fail", "failed"), ("skip", "skipped"), ("continue", "success")]
)
def test_the_gate_is_finishs(fake: FakeBridge, run_dag: RunDag, action: str, finish: str) -> None:
    fake.next_end = End(tasks=(a_task("greet"),), gate=GATE)
    options = f"arguments={{'name': 'x'}}, gate='add.total > 20', gate_action={action!r}"
    ran = run_dag(a_group("hello", options))
    assert states(ran)["finish"] == finish
    assert states(ran)["greet"] == "success"
    assert ran.xcom("kfp.finish")["gate"]["reason"] == "add.total is 14"
    (stored,) = fake.runs.values()
    assert stored.request.gate == "add.total > 20"


@needs(3, 3, "events in dag.test() of assets that no other DAG names")
def test_outlets_are_finishs_and_what_follows_the_group_gets_its_reference(
    fake: FakeBridge, run_dag: RunDag
) -> None:
    fake.next_end = End(tasks=(a_task("greet"),))
    more = """
    @task
    def after(reference):
        return reference["state"]

    after(group.output)
"""
    ran = run_dag(
        a_group("hello", "arguments={'name': 'x'}, outlets=[Asset('m', uri='s3://m/hello')]", more=more)
    )
    assert ran.state == "success"
    (extra,) = ran.asset_events("s3://m/hello")
    assert extra["run_id"] == next(iter(fake.runs))
    assert ran.xcom("after") == "SUCCEEDED"


def test_a_timeout_is_told_by_the_tasks_and_cancels_the_run_through_finish(
    fake: FakeBridge, run_dag: RunDag
) -> None:
    fake.next_end = None
    ran = run_dag(a_group("hello", "arguments={'name': 'x'}, timeout=1.5"))
    assert (states(ran)["greet"], states(ran)["finish"]) == ("failed", "failed")
    ((run_id, body),) = fake.cancels
    stored = fake.runs[run_id]
    assert (body["try_number"], body["key"]) == (1, str(stored.run.submission_key))


def test_arguments_are_rendered_for_the_one_submission(fake: FakeBridge, run_dag: RunDag) -> None:
    ran = run_dag(a_group("hello", "arguments={'name': '{{ run_id }}'}, experiment='{{ dag.dag_id }}-x'"))
    (stored,) = fake.runs.values()
    assert stored.request.arguments == {"name": ran.dag_run.run_id}
    assert stored.request.experiment == f"{ran.dag_run.dag_id}-x"
    assert stored.request.origin.task_id == "kfp.submit"


@pytest.mark.filterwarnings(IGNORED)
def test_the_example(
    fake: FakeBridge, run_example: RunDag, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    partition = tmp_path / "flights" / "year=2013" / "month=01" / "day=05" / "flights.parquet"
    partition.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.table({"flight": [1, 2, 3]}), partition)
    monkeypatch.setenv("KFBRIDGE_DATA_URI", tmp_path.as_uri())
    auc = MetricModel(key="evaluate.auc", task_path="evaluate", name="auc", value=0.7)
    loop = [a_task("for-loop-1", kind="dag"), a_task("for-loop-1[0]", kind="dag", iteration=0)]
    done = [a_task(name) for name in ("validate", "features", "train", "evaluate", "register")]
    fake.next_end = End(tasks=(*loop, *done), metrics=(auc,))
    ran = run_example("flights_as_tasks.py", "flights_as_tasks", run_conf={"window_days": 1})
    assert ran.state == "success"
    assert set(states(ran).values()) == {"success"}
    (stored,) = fake.runs.values()
    assert [(item.name, item.uri, item.rows) for item in stored.request.inputs] == [
        ("flights", f"file://{partition}", 3)
    ]
    assert ran.xcom("tell") == {"evaluate.auc": 0.7}
