"""Row 22 of the failure matrix: what is not meant to be understood, from callers and from the backend."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import psutil
from sqlalchemy import func, select
from sqlmodel import Session

from bridge import cli
from bridge.lineage.database import Database
from bridge.lineage.tables import JOB_RUNS, OUTBOX, RUNS, SPECS, SUBMISSIONS
from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains, waits
from tests.faults.stage import Stage, eventually, on_both
from tests.support.fault_proxy import edit, status

MIB = 1024 * 1024
NESTED = 20_000
EPOCHS = {"epochs": 1}
LIST_RUNS = ("GET", r"/apis/v2beta1/runs$")


def alias_bomb() -> str:
    """A few hundred bytes that stand for millions of nodes."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return "\n".join(lines)


def body(**more: Any) -> bytes:
    """A request that is right but for what is given."""
    return json.dumps({"spec": trains(), "arguments": EPOCHS, **more}).encode()


def raw(name: str, text: str) -> bytes:
    """A request with this JSON, written by hand, as one of its members."""
    return body(**{name: "HERE"}).replace(b'"HERE"', text.encode())


POISON: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "alias bomb": (lambda: body(spec=alias_bomb()), 422, "invalid-pipeline"),
    "nested brackets in the spec": (lambda: body(spec="[" * NESTED), 422, "invalid-pipeline"),
    "nested brackets as the spec": (lambda: body(spec="[" * NESTED + "]" * NESTED), 422, "invalid-pipeline"),
    "nested brackets": (lambda: b"[" * NESTED + b"]" * NESTED, 422, "invalid-request"),
    "nested arguments": (
        lambda: raw("arguments", '{"epochs":' + "[" * NESTED + "]" * NESTED + "}"),
        422,
        "invalid-request",
    ),
    "50 MB": (lambda: body(spec="x" * (50 * MIB)), 413, "too-large"),
    "NaN": (lambda: raw("arguments", '{"epochs": NaN}'), 422, "invalid-request"),
    "a number beyond all bounds": (lambda: raw("arguments", '{"epochs": 1e999}'), 422, "invalid-request"),
    "NUL in an argument": (lambda: raw("arguments", '{"epochs": 1, "a\\u0000b": 2}'), 422, "invalid-request"),
    "NUL in the spec": (lambda: body(spec="pipelineInfo: \0"), 422, "invalid-request"),
    "NUL in a name": (lambda: raw("display_name", '"a\\u0000b"'), 422, "invalid-request"),
    "NUL byte": (lambda: body() + b"\0", 422, "invalid-request"),
    "half of a surrogate pair": (lambda: raw("display_name", '"a\\ud800b"'), 422, "invalid-request"),
    "not UTF-8": (lambda: raw("display_name", '"a"').replace(b'"a"', b'"\xff\xfe"'), 422, "invalid-request"),
    "a try beyond all columns": (
        lambda: raw("origin", '{"dag_id": "d", "dag_run_id": "r", "task_id": "t", "try_number": 1e18}'),
        422,
        "invalid-request",
    ),
    "a map index beyond all columns": (
        lambda: raw("origin", '{"dag_id": "d", "dag_run_id": "r", "task_id": "t", "map_index": 99999999999}'),
        422,
        "invalid-request",
    ),
    "rows beyond all columns": (
        lambda: raw("inputs", '[{"name": "flights", "uri": "file:///x", "version": "1", "rows": 1e30}]'),
        422,
        "invalid-request",
    ),
    "no JSON": (lambda: b"\x00\x01\x02" * 1000, 422, "invalid-request"),
    "a spec that is no pipeline": (lambda: body(spec="just: text"), 422, "invalid-pipeline"),
}


def stored(database: Database) -> dict[str, int]:
    """How many rows there are of everything that a request could leave behind."""
    tables = (RUNS, SUBMISSIONS, SPECS, OUTBOX, JOB_RUNS)

    def count(session: Session) -> dict[str, int]:
        return {
            one.name: session.execute(select(func.count()).select_from(one)).scalar_one() for one in tables
        }

    return database.read(count)


@on_both
def test_22_poison_from_callers_is_refused_and_leaves_nothing(stage: Stage) -> None:
    with stage.serving() as service, closing(Database(stage.database_url)) as database:
        process = psutil.Process(service.process.pid)
        before, memory = stored(database), process.memory_info().rss
        for name, (make, code, slug) in POISON.items():
            headers = {"Idempotency-Key": service.key(name), "Content-Type": "application/json"}
            answer = service.client.post("/api/v1/runs", content=make(), headers=headers)
            assert answer.status_code == code, f"{name}: {answer.status_code} {answer.text[:500]}"
            problem = answer.json()
            assert problem["type"] == f"urn:kfbridge:problem:{slug}", name
            assert (problem["retryable"], bool(problem["detail"])) == (False, True), name
        for content in (b"[" * NESTED, b'{"eventType": "\\u0000"}', b"[NaN]", b"x" * (20 * MIB)):
            answer = service.client.post("/api/v1/lineage", content=content)
            assert answer.status_code in (413, 422), answer.text[:500]
        for query in (
            "text=%00",
            "cursor=%00",
            "dag_id=%00",
            "text=%ED%A0%80",
            "metric=%00",
            "map_index=99999999999",
        ):
            answer = service.client.get(f"/api/v1/runs?{query}")
            assert answer.status_code < 500, f"{query}: {answer.text[:500]}"
        assert stored(database) == before
        grown = process.memory_info().rss - memory
        assert grown < 300 * MIB, f"{grown / MIB:.0f} MiB more than before"
        run = service.submit(trains(), key="healthy", arguments=EPOCHS)
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        assert "Traceback" not in service.log
        check_invariants(stage, service)


def test_22_a_chunked_body_is_counted_as_it_comes(stage: Stage) -> None:
    def pieces() -> Any:
        for _ in range(50):
            yield b" " * MIB

    with stage.serving() as service:
        try:
            answer = service.client.post(
                "/api/v1/runs", content=pieces(), headers={"Idempotency-Key": service.key("k")}
            )
        except httpx.WriteError:
            # Refused, and hung up before all of it was sent.
            answer = None
        assert answer is None or answer.status_code == 413
        assert service.client.get("/readyz").status_code == 200


GOOD_TIME = "2026-01-01T00:00:00Z"
BAD_ROWS: list[dict[str, Any]] = [
    {"run_id": "no uuid", "state": "RUNNING", "created_at": GOOD_TIME},
    {"run_id": {"not": "text"}, "state": "RUNNING"},
    {"run_id": str(uuid4()), "state": 7},
    {"run_id": str(uuid4()), "state": "RUNNING", "created_at": "yesterday"},
    {"run_id": str(uuid4()), "state": "RUNNING", "created_at": GOOD_TIME, "runtime_config": "none"},
]
ODD_ROWS: list[dict[str, Any]] = [
    {"run_id": str(uuid4()), "state": "HOVERING", "created_at": GOOD_TIME, "display_name": "a\x00b"},
    {
        "run_id": str(uuid4()),
        "state": "RUNNING",
        "created_at": GOOD_TIME,
        "display_name": "x" * 100_000,
        "runtime_config": {
            "parameters": {"nan": float("nan"), "inf": float("inf"), "nul": "\x00", "half": "\ud800"}
        },
    },
    {
        "run_id": str(uuid4()),
        "state": "RUNNING",
        "created_at": GOOD_TIME,
        "pipeline_spec": {"pipelineInfo": {"name": 3}, "root": []},
    },
]


@on_both
def test_22_poison_from_the_backend_stops_no_other_run(stage: Stage) -> None:
    def poison(page: dict[str, Any]) -> dict[str, Any]:
        rows = [*BAD_ROWS, *ODD_ROWS]
        return {**page, "runs": [*rows, *page.get("runs", [])]}

    with stage.serving() as service:
        stage.proxy.when(*LIST_RUNS, edit(poison), times=None)
        go = stage.folder / "go"
        run = service.wait(service.submit(waits(go), key="k"), state="RUNNING")
        go.touch()
        assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        assert service.status()["reachable"]
        # What was read of the odd ones is shown; they are not at the backend, so they get lost again.
        stage.proxy.behave()
        known = {str(row["run_id"]) for row in ODD_ROWS}

        def lost() -> bool:
            found = service.client.get("/api/v1/runs", params={"limit": 200}).json()["items"]
            return {one["kfp_run_id"] for one in found if one["phase"] == "LOST"} == known

        eventually(lost, "the odd runs are known, and known to be gone")
        check_invariants(stage, service)


def test_22_one_run_that_cannot_be_read_does_not_stop_the_sweeps(stage: Stage) -> None:
    with stage.serving() as service:
        go = stage.folder / "go"
        broken = service.wait(service.submit(waits(go), key="broken"), state="RUNNING")
        stage.proxy.when("GET", f"/runs/{broken['kfp_run_id']}$", status(500), times=None)
        stage.proxy.when(
            *LIST_RUNS,
            edit(
                lambda page: {
                    **page,
                    "runs": [row for row in page.get("runs", []) if row["run_id"] != broken["kfp_run_id"]],
                }
            ),
            times=None,
        )
        for number in range(3):
            run = service.submit(trains(), key=f"k{number}", arguments=EPOCHS)
            assert service.wait(run, over=True)["state"] == "SUCCEEDED"
        assert service.run(broken)["phase"] == "ACTIVE"
        stage.proxy.behave()
        go.touch()
        assert service.wait(broken, over=True)["state"] == "SUCCEEDED"
        check_invariants(stage, service)


@on_both
def test_22_a_record_that_makes_no_sense_is_set_aside_and_released(stage: Stage) -> None:
    with stage.serving({"KFBRIDGE_QUARANTINE_AFTER_FAILURES": "2"}) as service:
        go = stage.folder / "go"
        odd = service.wait(service.submit(waits(go), key="odd"), state="RUNNING")
        nonsense = edit(lambda row: {**row, "created_at": "yesterday"})
        stage.proxy.when("GET", f"/runs/{odd['kfp_run_id']}$", nonsense, times=None)
        stage.proxy.when(
            *LIST_RUNS, edit(lambda page: {**page, "runs": [*page.get("runs", []), BAD_ROWS[0]]}), times=None
        )
        go.touch()
        ended = service.wait(odd, phase="ENDED")
        number = 0

        def aside() -> dict[str, dict[str, Any]]:
            nonlocal number
            # What fails is this run's own trouble only if others are read meanwhile.
            healthy = service.submit(trains(), key=f"healthy-{number}", arguments=EPOCHS)
            number += 1
            assert service.wait(healthy, over=True)["state"] == "SUCCEEDED"
            found = service.client.get("/api/v1/quarantine").json()["items"]
            return {one["work"]: one for one in found}

        found = eventually(lambda: set(told := aside()) == {"mirror", "list"} and told, "both are set aside")
        assert (found["mirror"]["run_id"], found["mirror"]["failures"]) == (odd["run_id"], 2)
        assert "created_at" in found["mirror"]["reason"]
        assert found["list"]["subject"] == BAD_ROWS[0]["run_id"]
        assert service.status()["quarantined"] == 2
        told = service.wait(ended, over=True)
        assert (told["state"], told["mirror"]) == ("SUCCEEDED", "PARTIAL")
        assert "set aside" in told["warnings"][0]
        stage.proxy.behave()
        assert cli.main(["quarantine", "release", "--all", "--url", service.process.url]) == 0
        service.wait(odd, mirror="COMPLETE")
        assert service.client.get("/api/v1/quarantine").json()["items"] == []
        check_invariants(stage, service)
