"""Rows 1, 2, 3 and 10 of the failure matrix: one run per submission, wherever something breaks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import httpx
import pytest

from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import SHORT_GRACE, Stage, eventually, on_both, wait_for_crash
from tests.support.fault_proxy import lose_answer, reset, run_late, status

EPOCHS = {"epochs": 1}
POST_RUN = ("POST", r"/apis/v2beta1/runs$")


@on_both
def test_01_crash_after_the_post_adopts_the_run_by_its_id(stage: Stage) -> None:
    with stage.serving(crash_at="submit.after_post") as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        wait_for_crash(service)
    assert stage.backend_run(run) is not None
    with stage.serving() as service:
        done = service.wait(run, over=True)
        assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1)
        assert stage.proxy.posted_runs() == {run["kfp_run_id"]: 1}
        check_invariants(stage, service)


@on_both
def test_01_crash_before_the_post_sends_the_next_attempt_under_a_new_id(stage: Stage) -> None:
    with stage.serving(SHORT_GRACE, crash_at="submit.before_post") as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        wait_for_crash(service)
    assert stage.backend_runs() == []
    with stage.serving(SHORT_GRACE) as service:
        done = service.succeeds("k")
        assert done["attempt"] == 2
        assert done["kfp_run_id"] != run["kfp_run_id"]
        assert service.run(run)["phase"] == "ABANDONED"
        check_invariants(stage, service)


@on_both
def test_01_crash_between_accepting_and_answering_is_harmless(stage: Stage) -> None:
    with stage.serving(crash_at="accept.after_commit") as service:
        with pytest.raises(httpx.HTTPError):
            service.post(trains(), key="k", arguments=EPOCHS)
        wait_for_crash(service)
    with stage.serving() as service:
        again = service.post(trains(), key="k", arguments=EPOCHS)
        assert again.headers["idempotency-replayed"] == "true"
        assert service.wait(again.json(), over=True)["state"] == "SUCCEEDED"
        assert len(service.attempts("k")) == 1
        check_invariants(stage, service)


@on_both
def test_02_a_lost_answer_is_no_second_post(stage: Stage) -> None:
    # KFP's own grace of eight minutes holds here: what is found is adopted long before.
    stage.proxy.when(*POST_RUN, lose_answer())
    with stage.serving() as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        done = service.wait(run, over=True)
        assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1)
        assert len(stage.proxy.requests(*POST_RUN)) == 1
        check_invariants(stage, service)


@on_both
def test_02_a_refused_connection_is_simply_tried_again(stage: Stage) -> None:
    with stage.serving() as service:
        stage.proxy.close_door()
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        eventually(lambda: not service.status()["reachable"], "the backend is seen to be away")
        assert service.run(run)["phase"] == "QUEUED"
        assert service.run(run)["stale_since"] is not None
        stage.proxy.open_door()
        done = service.wait(run, over=True)
        assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1)
        check_invariants(stage, service)


@on_both
def test_03_a_post_that_left_no_trace_is_given_up_only_after_the_grace(stage: Stage) -> None:
    stage.proxy.when(*POST_RUN, reset())
    with stage.serving() as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        look = ("GET", f"/runs/{run['kfp_run_id']}$")
        eventually(lambda: len(stage.proxy.requests(*look)) >= 4, "the run is looked up again and again")
        waiting = service.run(run)
        assert (waiting["phase"], waiting["state"], waiting["over"]) == ("SUBMITTING", "PENDING", False)
        assert len(stage.proxy.requests(*POST_RUN)) == 1
    with stage.serving(SHORT_GRACE) as service:
        assert service.succeeds("k")["attempt"] == 2
        check_invariants(stage, service)


@on_both
def test_03_an_abandoned_run_that_shows_up_late_is_terminated(stage: Stage) -> None:
    go = stage.folder / "go"
    late = stage.proxy.gate()
    stage.proxy.when(*POST_RUN, run_late(late))
    with stage.serving(SHORT_GRACE) as service:
        first = service.submit(waits(go), key="k")
        second = eventually(
            lambda: next((run for run in service.attempts("k") if run["state"] == "RUNNING"), None),
            "the second attempt runs",
        )
        assert second["attempt"] == 2
        late.open()
        eventually(lambda: stage.backend_run(first), "the first attempt shows up")
        assert stage.backend_ends(first)["state"] == "CANCELED"
        assert service.run(second)["state"] == "RUNNING"
        go.touch()
        assert service.wait(second, over=True)["state"] == "SUCCEEDED"
        assert service.run(first)["phase"] == "ABANDONED"
        check_invariants(stage, service)


@on_both
def test_10_fifty_equal_posts_at_once_are_one_run(stage: Stage) -> None:
    with stage.serving() as service:
        together = Barrier(50)

        def post(number: int) -> httpx.Response:
            body: dict[str, Any] = {"spec": trains(), "arguments": EPOCHS}
            with httpx.Client(base_url=service.process.url, timeout=60, trust_env=False) as client:
                together.wait(60)
                return client.post(
                    "/api/v1/runs", json=body, headers={"Idempotency-Key": service.key("fifty")}
                )

        with ThreadPoolExecutor(50) as threads:
            answers = list(threads.map(post, range(50)))
        assert {answer.status_code for answer in answers} == {202}, [
            a.text for a in answers if a.status_code != 202
        ]
        assert len({answer.json()["run_id"] for answer in answers}) == 1
        assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
        other = service.post(trains(), key="fifty", arguments={"epochs": 2})
        assert (other.status_code, other.json()["type"]) == (422, "urn:kfbridge:problem:key-reused")
        assert service.wait(answers[0].json(), over=True)["state"] == "SUCCEEDED"
        assert len(service.attempts("fifty")) == 1
        assert len(stage.backend_runs()) == 1
        check_invariants(stage, service)


@on_both
def test_03_errors_of_a_gateway_before_the_backend_are_ambiguous_too(stage: Stage) -> None:
    for code in (500, 503):
        stage.proxy.when(*POST_RUN, status(code))
    with stage.serving(SHORT_GRACE) as service:
        service.submit(trains(), key="k", arguments=EPOCHS)
        assert service.succeeds("k")["attempt"] == 3
        assert len(stage.backend_runs()) == 1
        check_invariants(stage, service)
