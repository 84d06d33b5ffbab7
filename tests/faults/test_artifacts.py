"""Row 15 of the failure matrix: what an artifact's URI names refuses, hangs, or is not there yet."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

from tests.faults.invariants import check_invariants
from tests.faults.pipelines import publishes
from tests.faults.stage import Service, Stage, eventually, on_both
from tests.support.fault_proxy import Answer, answers, fault_proxy, hold, status

QUICK = {"KFBRIDGE_CONTENT_CHECK_SECONDS": "1", "KFBRIDGE_CONTENT_RETRY_SECONDS": "0.5"}
DATA = answers(Answer(206, b"d", (("content-type", "application/octet-stream"),)))


def contents(service: Service, run: dict[str, Any]) -> dict[str, tuple[str | None, str]]:
    """What is told of each artifact, and why."""
    return {
        one["name"]: (one.get("content"), one.get("content_error") or "")
        for one in service.items(run, "artifacts")
    }


@on_both
def test_15_artifacts_that_refuse_or_hang_hold_up_no_run(stage: Stage) -> None:
    file = stage.folder / "late.csv"
    # Bound and not listening: whoever connects is refused, and nobody else gets the port.
    with closing(socket.socket()) as deaf, fault_proxy("http://127.0.0.1:1") as store:
        deaf.bind(("127.0.0.1", 0))
        gate = store.gate()
        store.when("GET", "^/hangs$", hold(gate), times=None)
        store.when("GET", "^/gone$", status(404), times=None)
        store.when("GET", "^/there$", DATA, times=None)
        uris = {
            "there": f"{store.url}/there",
            "gone": f"{store.url}/gone",
            "hangs": f"{store.url}/hangs",
            "refuses": f"http://127.0.0.1:{deaf.getsockname()[1]}/data",
            "late": file.as_uri(),
            "elsewhere": "s3://bucket/of/somebody/else",
        }
        with stage.serving(QUICK) as service:
            run = service.wait(service.submit(publishes(uris), key="k"), over=True)
            assert (run["state"], run["mirror"]) == ("SUCCEEDED", "COMPLETE")
            away = {"gone", "hangs", "refuses", "late"}

            def all_seen() -> bool:
                told = contents(service, run)
                return {name for name, (state, _) in told.items() if state == "unavailable"} == away

            eventually(all_seen, "what is away is told")
            told = contents(service, run)
            assert told["there"] == ("available", "")
            assert told["elsewhere"] == (None, "")
            assert "404" in told["gone"][1]
            assert "no answer within 1 s" in told["hangs"][1]
            assert "ConnectError" in told["refuses"][1]
            assert told["late"] == ("unavailable", "there is nothing")
            # It comes back, and is found without anybody asking.
            looks = len(store.requests("GET", "^/there$"))
            gate.open()
            store.behave()
            for path in ("^/hangs$", "^/gone$"):
                store.when("GET", path, DATA, times=None)
            file.write_text("day,delay\n")
            deaf.listen()
            eventually(
                lambda: (
                    {name for name, (state, _) in contents(service, run).items() if state == "available"}
                    == {"there", "gone", "hangs", "late"}
                ),
                "what came back is told",
            )
            assert contents(service, run)["refuses"][0] == "unavailable"
            assert len(store.requests("GET", "^/there$")) == looks, "what is there is not asked again"
            assert service.run(run)["version"] == run["version"]
            check_invariants(stage, service)
