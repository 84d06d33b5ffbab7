"""The example DAGs whose other half is a person or an event."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.client.models import GateModel, MetricModel
from tests.integration.provider.conftest import IGNORED, Ran
from tests.support.airflow_version import needs
from tests.support.fake_bridge import End, FakeBridge

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.timeout(120, method="thread"),
    pytest.mark.filterwarnings(IGNORED),
]

RunDag = Callable[..., Ran]
AUC = MetricModel(key="evaluate.auc", task_path="evaluate", name="auc", value=0.71)
GATE = GateModel(expression="evaluate.auc > 0.7", passed=True, reason="0.71 is more than 0.7")


@contextmanager
def a_person(option: str) -> Iterator[list[Any]]:
    """Answers the first request that waits, as Airflow's REST route does; yields the request."""
    with warnings.catch_warnings():
        # Airflow's API warns of its own dependencies when it is imported.
        warnings.simplefilter("ignore")
        import_module("airflow.api_fastapi.core_api.routes.public.hitl")
    requests: list[Any] = []
    over = threading.Event()
    person = threading.Thread(target=_answer_when_asked, args=(option, requests, over))
    person.start()
    try:
        yield requests
    finally:
        over.set()
        person.join()


def _answer_when_asked(option: str, requests: list[Any], over: threading.Event) -> None:
    from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
    from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
    from airflow.models.hitl import HITLDetail
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    waiting = select(TaskInstance).where(TaskInstance.state == "awaiting_input")
    user: Any = SimpleNamespace(get_id=lambda: "u1", get_name=lambda: "Ada")
    while not over.wait(0.1):
        with create_session() as session:
            ti = session.scalars(waiting).first()
            if ti is None:
                continue
            detail = session.scalars(select(HITLDetail).where(HITLDetail.ti_id == ti.id)).one()
            requests.append(
                SimpleNamespace(subject=detail.subject, body=detail.body, defaults=detail.defaults)
            )
            payload = UpdateHITLDetailPayload(chosen_options=[option], params_input={})
            update_hitl_detail(ti.dag_id, ti.run_id, ti.task_id, payload, user, session)
        return


@needs(3, 3, "request for a person's answer that dag.test() can wait for")
@pytest.mark.parametrize(("option", "deployed"), [("Approve", "success"), ("Reject", "skipped")])
def test_a_person_decides_on_the_numbers_what_is_deployed(
    fake: FakeBridge, run_example: RunDag, option: str, deployed: str
) -> None:
    fake.next_end = End(metrics=(AUC,), gate=GATE)
    with a_person(option) as requests:
        ran = run_example("approved_deployment.py", "approved_deployment")
    states = [ran.task(task_id).state for task_id in ("train", "approve", "deploy")]
    assert states == ["success", "success", deployed]
    run = next(iter(fake.runs.values())).run
    (request,) = requests
    assert (request.subject, request.defaults) == ("Deploy what approved_deployment trained?", ["Reject"])
    assert f"Run [{run.run_id}]({run.links.bridge}) ended SUCCEEDED." in request.body
    assert "- evaluate.auc: 0.71" in request.body
    assert "Gate `evaluate.auc > 0.7`: 0.71 is more than 0.7" in request.body
    if option == "Approve":
        assert ran.xcom("deploy") == {"run_id": str(run.run_id), "approved_by": "Ada"}


def test_a_dag_for_every_good_model_runs(run_example: RunDag) -> None:
    ran = run_example("on_any_model.py", "on_any_model")
    assert ran.state == "success"
    assert ran.xcom("tell") == []


def test_it_is_scheduled_by_the_watcher(load_example: Callable[..., Any]) -> None:
    dag = load_example("on_any_model.py", "on_any_model")
    (asset,) = dag.timetable.asset_condition.objects
    (watcher,) = asset.watchers
    path, kwargs = watcher.trigger.serialize()
    assert path == "bridge.provider.events.KubeflowEventTrigger"
    assert (kwargs["pipeline"], kwargs["good"]) == (["flight-delay"], True)
