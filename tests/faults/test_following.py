"""Rows 4, 5, 6, 7, 16, 17 and 26 of the failure matrix: what the backend does while runs are followed."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage.database import Database
from bridge.lineage.runs import history_of
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import needs, trains, waits
from tests.faults.stage import SHORT_GRACE, Service, Stage, eventually, on_both, wait_for_crash
from tests.support.fault_proxy import (
    Answer,
    Fault,
    Rule,
    answers,
    cut,
    edit,
    hang,
    login_page,
    status,
)
from tests.support.local_backend import start_local_backend

EPOCHS = {"epochs": 1}
POST_RUN = ("POST", r"/apis/v2beta1/runs$")
LIST_RUNS = ("GET", r"/apis/v2beta1/runs$")
GET_RUN = ("GET", r"/apis/v2beta1/runs/[0-9a-f-]+$")
METADATA = ("POST", r"/ml_metadata\.")
ANY_GET = ("GET", r"/apis/")


def running(stage: Stage, service: Service, key: str = "k") -> tuple[dict[str, Any], Path]:
    """A run that goes on until its file is made."""
    go = stage.folder / f"go-{key}"
    return service.wait(service.submit(waits(go), key=key), state="RUNNING"), go


def is_met(rule: Rule) -> bool:
    """Whether as many requests met the fault as it was laid out for."""
    return rule.left == 0


@on_both
@pytest.mark.parametrize("crash_at", ["track.before_record", "track.after_record"])
def test_04_crash_when_the_end_is_seen_loses_no_end(stage: Stage, crash_at: str) -> None:
    with stage.serving() as service:
        run, go = running(stage, service)
        service.process.stop(signal.SIGKILL)
    go.touch()
    stage.backend_ends(run)
    with stage.serving(crash_at=crash_at) as service:
        wait_for_crash(service)
    with stage.serving() as service:
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, service)


@on_both
@pytest.mark.parametrize("crash_at", ["mirror.before_store", "mirror.after_store"])
def test_04_crash_around_the_mirror_loses_and_doubles_nothing(stage: Stage, crash_at: str) -> None:
    with stage.serving(crash_at=crash_at) as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        wait_for_crash(service)
    with stage.serving() as service:
        done = service.wait(run, over=True)
        assert (done["state"], done["mirror"]) == ("SUCCEEDED", "COMPLETE")
        assert len(service.items(done, "artifacts")) == 2
        check_invariants(stage, service)


@on_both
def test_05_a_burst_of_5xx_makes_runs_stale_and_nothing_fail(stage: Stage) -> None:
    with stage.serving() as service:
        run, go = running(stage, service)
        for code in (503, 502, 500):
            stage.proxy.when(*ANY_GET, status(code), times=4)
        stage.proxy.when(*ANY_GET, status(503), times=None)
        stage.proxy.when(*METADATA, status(502), times=None)
        eventually(lambda: not service.status()["reachable"], "the backend is seen to be away")
        new = service.submit(trains(), key="new", arguments=EPOCHS)
        go.touch()
        stage.backend_ends(run)
        # Several rounds of failure, and still nobody is told that the run failed.
        eventually(lambda: sum(s.status in (500, 502, 503) for s in stage.proxy.seen) >= 15, "a burst")
        during = service.run(run)
        assert (during["state"], during["over"]) == ("RUNNING", False)
        assert during["stale_since"] is not None
        assert service.run(new)["phase"] == "QUEUED"
        assert service.client.get("/readyz").status_code == 200
        stage.proxy.behave()
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        assert service.wait(new, over=True)["state"] == "SUCCEEDED"
        assert service.run(run)["stale_since"] is None
        check_invariants(stage, service)


@on_both
def test_05_an_open_circuit_lets_one_request_at_a_time_look_for_the_backend(stage: Stage) -> None:
    with stage.serving() as service:
        stage.proxy.when("GET", r"/", status(503), times=None)
        stage.proxy.when("POST", r"/", status(503), times=None)
        waiting = [service.submit(trains(), key=f"w{n}", arguments=EPOCHS) for n in range(6)]
        eventually(lambda: service.status()["circuit"] == "open", "the circuit opens")
        opened = len(stage.proxy.seen)
        # Longer and longer, up to a second here: so many looks take this long.
        eventually(lambda: len(stage.proxy.seen) >= opened + 4, "somebody looks for it")
        looks = stage.proxy.seen[opened : opened + 4]
        assert looks[-1].at - looks[0].at >= 0.8 * (0.3 + 0.6), "each look waits for the circuit"
        told = eventually(
            lambda: next(
                (one for one in service.run(waiting[0])["warnings"] if "the circuit is" in one), None
            ),
            "an explanation",
        )
        assert "503" in told
        assert "failures in a row (the circuit is" in told
        assert "the run is sent when it does" in told
        assert {service.run(run)["phase"] for run in waiting} <= {"QUEUED", "SUBMITTING"}
        assert not stage.proxy.requests(*POST_RUN), "a POST does not look for the backend"
        stage.proxy.behave()
        for run in waiting:
            done = service.wait(run, over=True)
            assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1)
        assert service.status()["circuit"] == "closed"
        check_invariants(stage, service)


@on_both
def test_06_retry_after_of_a_429_is_honoured_by_everybody(stage: Stage) -> None:
    stage.proxy.when(*POST_RUN, status(429, retry_after="2"))
    with stage.serving() as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        eventually(lambda: stage.proxy.requests(*POST_RUN), "the POST is refused")
        eventually(lambda: service.status()["held_seconds"] > 0, "the backend is spared")
        other = service.submit(trains(), key="other", arguments=EPOCHS)
        assert service.wait(run, over=True)["attempt"] == 1
        assert service.wait(other, over=True)["attempt"] == 1
        _nobody_asked_for(stage, 2.0)
        refused, *sent = stage.proxy.requests(*POST_RUN)
        assert (refused.status, len(sent)) == (429, 2)
        rule = stage.proxy.when(*LIST_RUNS, status(429, retry_after="2"))
        eventually(lambda: is_met(rule), "a list is refused")
        last = len(stage.proxy.seen)
        service.submit(trains(), key="third", arguments=EPOCHS)
        eventually(lambda: len(stage.proxy.seen) > last, "it goes on")
        _nobody_asked_for(stage, 2.0)
        assert service.succeeds("third")["attempt"] == 1
        check_invariants(stage, service)


def _nobody_asked_for(stage: Stage, seconds: float) -> None:
    """After the newest 429 nothing went out for so long, whoever wanted it."""
    seen = list(stage.proxy.seen)
    at = max(index for index, one in enumerate(seen) if one.status == 429)
    later = [one.at - seen[at].at for one in seen[at + 1 :]]
    # What was under way at that moment cannot be called back.
    assert not [passed for passed in later if 0.3 < passed < seconds - 0.1], later[:10]


@on_both
def test_06_a_token_bucket_bounds_what_all_workers_send_together(stage: Stage) -> None:
    rate, burst = 8, 4
    bounds = {"KFBRIDGE_KFP_REQUESTS_PER_SECOND": str(rate), "KFBRIDGE_KFP_REQUEST_BURST": str(burst)}
    with stage.serving(bounds) as service:
        submitted = [service.submit(trains(), key=f"k{n}", arguments=EPOCHS) for n in range(6)]
        for run in submitted:
            assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        times = [one.at for one in stage.proxy.seen]
        assert len(times) > 3 * rate
        for first, began in enumerate(times):
            within = sum(began <= at < began + 1.0 for at in times[first:])
            # One more for each connection's own delay.
            assert within <= rate + burst + 2, f"{within} requests in a second"
        check_invariants(stage, service)


NOT_KFP: dict[str, Fault] = {
    "cut at 0, framed": cut(0, framed=True),
    "cut at 0": cut(0, framed=False),
    "cut in the middle, framed": cut(0.5, framed=True),
    "cut in the middle": cut(0.5, framed=False),
    "cut before the last bytes, framed": cut(0.98, framed=True),
    "a login page": login_page(),
    "a 404 of the gateway": answers(Answer(404, b"default backend - 404", (("content-type", "text/plain"),))),
    "a 404 without a word": answers(Answer(404, b"", ())),
}


@on_both
def test_07_answers_that_are_not_kfps_are_never_taken_for_news(stage: Stage) -> None:
    with stage.serving() as service:
        run, go = running(stage, service)
        for name, fault in NOT_KFP.items():
            listing = stage.proxy.when(*LIST_RUNS, fault)
            eventually(partial(is_met, listing), f"{name} for a list")
            # A list that lacks the run makes the bridge ask for the run itself.
            stage.proxy.when(*LIST_RUNS, edit(lambda page: {**page, "runs": []}), times=None)
            asking = stage.proxy.when(*GET_RUN, fault)
            eventually(partial(is_met, asking), f"{name} for the run")
            stage.proxy.behave()
            now = service.run(run)
            assert (now["state"], now["phase"]) == ("RUNNING", "ACTIVE"), name
        for name in ("cut in the middle, framed", "a login page"):
            stage.proxy.when(*METADATA, NOT_KFP[name])
        go.touch()
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, service)


@on_both
def test_07_a_post_with_a_broken_answer_is_looked_up_and_adopted(stage: Stage) -> None:
    executed = {name: fault for name, fault in NOT_KFP.items() if name.startswith("cut")}
    with stage.serving() as service:
        for name, fault in executed.items():
            stage.proxy.when(*POST_RUN, fault)
            run = service.submit(trains(), key=name, arguments=EPOCHS)
            done = service.wait(run, over=True)
            assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1), name
        gate = stage.proxy.gate()
        stage.proxy.when(*POST_RUN, hang(gate))
        run = service.submit(trains(), key="hangs", arguments=EPOCHS)
        assert service.wait(run, over=True)["attempt"] == 1
        gate.open()
        assert len(stage.proxy.requests(*POST_RUN)) == len(executed) + 1
        check_invariants(stage, service)


@on_both
def test_07_a_post_that_got_an_empty_answer_and_was_not_done_is_sent_again(stage: Stage) -> None:
    stage.proxy.when(*POST_RUN, answers(Answer(200, b"")))
    with stage.serving(SHORT_GRACE) as service:
        service.submit(trains(), key="k", arguments=EPOCHS)
        assert service.succeeds("k")["attempt"] == 2
        assert [run["phase"] for run in service.attempts("k")] == ["ABANDONED", "ENDED"]
        check_invariants(stage, service)


@on_both
def test_07_no_new_attempt_while_lookups_get_no_proper_answer(stage: Stage) -> None:
    gate = stage.proxy.gate()
    stage.proxy.when(*POST_RUN, hang(gate))
    # The sweeps must not find it first.
    stage.proxy.when(*LIST_RUNS, status(503), times=None)
    with stage.serving(SHORT_GRACE | {"KFBRIDGE_KFP_TIMEOUT_SECONDS": "1"}) as service:
        run = service.submit(trains(), key="k", arguments=EPOCHS)
        gate.wait_reached()
        proofless = [
            stage.proxy.when(*GET_RUN, NOT_KFP[name])
            for name in ("cut at 0, framed", "a 404 of the gateway", "a 404 without a word")
        ]
        eventually(lambda: all(is_met(rule) for rule in proofless), "all of them were met")
        stage.proxy.behave()
        done = service.wait(run, over=True)
        assert (done["state"], done["attempt"]) == ("SUCCEEDED", 1)
        gate.open()
        check_invariants(stage, service)


@on_both
def test_16_a_run_deleted_at_the_backend_keeps_its_history(stage: Stage) -> None:
    with stage.serving() as service:
        ended = service.submit(trains(), key="ended", arguments=EPOCHS)
        ended = service.wait(ended, over=True)
        run, _ = running(stage, service)
        eventually(lambda: service.items(run, "tasks"), "its tasks are mirrored")
        # The backend ends a run before it deletes it; nobody looks in between.
        stage.proxy.when(*ANY_GET, status(503), times=None)
        stage.delete_at_backend(run)
        stage.delete_at_backend(ended)
        stage.proxy.behave()
        lost = service.wait(run, over=True)
        assert (lost["phase"], lost["state"]) == ("LOST", "FAILED")
        assert "deleted there or garbage-collected" in lost["error"]["message"]
        assert service.items(lost, "tasks")
        kept = service.run(ended)
        assert (kept["state"], kept["mirror"], kept["version"]) == ("SUCCEEDED", "COMPLETE", ended["version"])
        assert len(service.items(kept, "artifacts")) == 2
        check_invariants(stage, service)


@on_both
def test_17_a_token_that_rotates_is_read_again(stage: Stage, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("first")
    with start_local_backend(tmp_path / "private", token="inside") as backend:
        shared, stage.backend, stage.proxy.target = stage.backend, backend, backend.url
        stage.proxy.token, stage.proxy.backend_token = "first", "inside"
        with stage.serving({"KFBRIDGE_KFP_TOKEN_FILE": str(token_file)}) as service:
            run, go = running(stage, service)
            # The file is ahead of the gateway, as when a projected token is renewed before it expires.
            stage.proxy.token = "second"
            token_file.write_text("second")
            sent = service.submit(trains(), key="rotated", arguments=EPOCHS)
            assert service.wait(sent, over=True)["state"] == "SUCCEEDED"
            # The old token expires, and nobody has put a new one there yet.
            stage.proxy.token = "third"
            eventually(lambda: not service.status()["reachable"], "the refusal is seen")
            told = service.status()["last_error"]
            assert "the token is not valid" in told
            during = service.run(run)
            assert (during["state"], during["over"]) == ("RUNNING", False)
            go.touch()
            stage.backend_ends(run)
            token_file.write_text("third")
            assert service.wait(run, over=True)["state"] == "SUCCEEDED"
            eventually(lambda: service.status()["reachable"], "the new token is taken")
            check_invariants(stage, service)
        stage.backend, stage.proxy.backend_token = shared, None


@on_both
def test_26_a_list_that_was_overtaken_revives_nothing(stage: Stage) -> None:
    gate = stage.proxy.gate()
    with stage.serving({"KFBRIDGE_KFP_TIMEOUT_SECONDS": "60"}) as service:
        run, go = running(stage, service)
        # The list still says RUNNING, and comes when the end is long known from elsewhere.
        stage.proxy.when(*LIST_RUNS, hang(gate, holding=run["kfp_run_id"]), times=None)
        gate.wait_reached()
        go.touch()
        ended = service.wait(run, over=True)
        assert ended["state"] == "SUCCEEDED"
        swept = service.status()["last_fast_sweep_at"]
        gate.open()
        # The next one comes after twenty times as long as this list took.
        eventually(lambda: service.status()["last_fast_sweep_at"] != swept, "the list is taken in")
        assert service.run(run) == ended
        check_invariants(stage, service)


@on_both
def test_26_a_retry_at_the_backend_revives_the_run_and_keeps_its_history(stage: Stage) -> None:
    file = stage.folder / "needed"
    with stage.serving() as service:
        run = service.wait(service.submit(needs(file), key="k"), over=True)
        assert (run["state"], run["error"]["task"]) == ("FAILED", "look")
        file.touch()
        stage.retry_at_backend(run)
        again = service.wait(run, phase="ACTIVE")
        assert (again["over"], again["error"]) == (False, None)
        Path(f"{file}.go").touch()
        done = service.wait(run, over=True)
        assert done["state"] == "SUCCEEDED"
        assert (done["revivals"], done["error"], done["mirror"]) == (1, None, "COMPLETE")
        assert service.succeeds("k")["run_id"] == run["run_id"]
        check_invariants(stage, service)
    database = Database(stage.database_url)
    history = [
        (entry.phase, entry.state) for entry in database.read(lambda s: history_of(s, UUID(done["run_id"])))
    ]
    database.close()
    lives = [entry for entry in history if entry[0] is RunPhase.ENDED]
    assert [state for _, state in lives] == [RuntimeState.FAILED, RuntimeState.SUCCEEDED]
