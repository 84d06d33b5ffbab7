"""Row 23 of the failure matrix: slow clients, and SIGTERM under load."""

from __future__ import annotations

import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event
from urllib.parse import urlsplit

import httpx

from tests.faults.invariants import check_invariants
from tests.faults.pipelines import trains
from tests.faults.stage import SHORT_GRACE, Stage, eventually, on_both
from tests.support.fault_proxy import hang

GRACE_SECONDS = 10.0
DRAIN_SECONDS = 3
KEYS = [f"load-{number}" for number in range(16)]


@on_both
def test_23_sigterm_under_load_loses_nothing(stage: Stage) -> None:
    stopping = Event()

    def submit(key: str) -> str | None:
        """The run's id, ``None`` if the service was gone or said that it is about to go."""
        body = {"spec": trains(), "arguments": {"epochs": 1}}
        try:
            answer = httpx.post(
                f"{url}/api/v1/runs", json=body, headers={"Idempotency-Key": full[key]}, timeout=30
            )
        except httpx.HTTPError:
            assert stopping.is_set(), "it hung up before it was told to stop"
            return None
        if answer.status_code == 503 and stopping.is_set():
            assert answer.json()["type"] == "urn:kfbridge:problem:stopping", answer.text
            return None
        assert answer.status_code == 202, answer.text
        run_id: str = answer.json()["run_id"]
        return run_id

    with stage.serving() as service:
        url, full = service.process.url, {key: service.key(key) for key in KEYS}
        address = urlsplit(url)
        # A client that never finishes its request, and one that reads events.
        with (
            closing(socket.create_connection((str(address.hostname), int(address.port or 0)))) as slow,
            service.client.stream("GET", "/api/v1/events") as stream,
            ThreadPoolExecutor(6) as threads,
        ):
            assert stream.status_code == 200
            slow.sendall(b"POST /api/v1/runs HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n{")
            accepted = [threads.submit(submit, key) for key in KEYS]
            eventually(lambda: len(stage.backend_runs()) >= 3, "the load is on its way")
            stopping.set()
            began = time.monotonic()
            code = service.process.stop()
            took = time.monotonic() - began
            answers = {key: future.result() for key, future in zip(KEYS, accepted, strict=True)}
        assert (code, took < GRACE_SECONDS) == (0, True), f"exit code {code} after {took:.1f} s"
    with stage.serving() as service:
        for key, run_id in answers.items():
            again = service.submit(trains(), key=key, arguments={"epochs": 1})
            assert run_id in (None, again["run_id"]), "an accepted run was lost"
        assert {service.succeeds(key)["attempt"] for key in KEYS} == {1}
        check_invariants(stage, service)


@on_both
def test_23_a_stopping_service_says_so_and_gives_back_what_it_holds(stage: Stage) -> None:
    gate = stage.proxy.gate()
    # The claim would hold for an hour, and the backend's answer never comes.
    slow = {"KFBRIDGE_LEASE_SECONDS": "3600", "KFBRIDGE_KFP_TIMEOUT_SECONDS": "60"}
    with stage.serving(
        {**slow, "KFBRIDGE_DRAIN_SECONDS": str(DRAIN_SECONDS), "KFBRIDGE_SHUTDOWN_SECONDS": "2"}
    ) as service:
        stage.proxy.when("POST", r"/apis/v2beta1/runs$", hang(gate))
        run = service.submit(trains(), key="k", arguments={"epochs": 1})
        gate.wait_reached()
        began = time.monotonic()
        service.process.process.send_signal(signal.SIGTERM)
        eventually(lambda: service.client.get("/readyz").json() == {"status": "stopping"}, "it says so")
        refused = service.post(trains(), key="late", arguments={"epochs": 1})
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:kfbridge:problem:stopping")
        assert (refused.json()["retryable"], int(refused.headers["retry-after"]) >= 1) == (True, True)
        # The sweep may have seen meanwhile what the POST has done.
        assert service.run(run)["phase"] in ("SUBMITTING", "ACTIVE")
        code = service.process.stop()
        took = time.monotonic() - began
        assert (code, took < GRACE_SECONDS + DRAIN_SECONDS) == (0, True), f"exit code {code}, {took:.1f} s"
    gate.open()
    with stage.serving(SHORT_GRACE) as service:
        # Another process has the claim at once, and finds the run that the lost answer told of.
        assert service.succeeds("k")["attempt"] == 1
        check_invariants(stage, service)
