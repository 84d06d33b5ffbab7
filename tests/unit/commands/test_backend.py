"""``kfbridge backend``: what is told of backends, and waiting for a drain."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pytest

from bridge.cli import main
from bridge.commands import backend as command
from bridge.commands.console import Console

BACKEND: dict[str, Any] = {"name": "gpu", "url": "http://kfp", "reachable": True, "active_runs": 2}


class Service:
    """Answers as a bridge with one backend, whose runs end one with each look."""

    def __init__(self) -> None:
        self.left = 2
        self.mode: str | None = None
        self.reason: str | None = None
        self.bodies: list[Any] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.bodies.append(json.loads(request.content or b"{}"))
            name, _, verb = request.url.path.rpartition("/")[2].partition(":")
            assert name == "gpu"
            self.mode = None if verb == "resume" else "draining" if self.bodies[-1].get("drain") else "paused"
            self.reason = self.bodies[-1].get("reason")
            return httpx.Response(200, json=self.backend())
        self.left = max(0, self.left - 1)
        return httpx.Response(200, json={"version": "1", "database": "sqlite", "backends": [self.backend()]})

    def backend(self) -> dict[str, Any]:
        if self.mode is None:
            return BACKEND
        mode = "drained" if self.mode == "draining" and not self.left else self.mode
        since = "2026-01-31T02:00:00Z"
        switch = {
            "backend": "gpu",
            "mode": mode,
            "since": since,
            "reason": self.reason,
            "active_runs": self.left,
        }
        return {**BACKEND, "active_runs": self.left, "switch": switch}


def kfbridge(service: Service, *argv: str) -> tuple[int, str, str]:
    console = Console(
        out=io.StringIO(), err=io.StringIO(), environ={"HOME": "/"}, transport=httpx.MockTransport(service)
    )
    code = main(["backend", *argv], console)
    return code, console.out.getvalue(), console.err.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "_ASK_SECONDS", 0.0)


def test_backends_are_listed_with_their_switch() -> None:
    service = Service()
    assert "sending" in kfbridge(service, "list")[1]
    code, out, _ = kfbridge(service, "pause", "gpu", "--reason", "new disks")
    assert code == 0
    assert out.splitlines()[1].split()[:3] == ["gpu", "paused", "yes"]
    assert out.rstrip().endswith("new disks")
    assert "sending" in kfbridge(service, "resume", "gpu")[1]
    assert service.bodies == [{"drain": False, "reason": "new disks"}, {}]


def test_a_drain_waits_until_nothing_is_under_way() -> None:
    service = Service()
    code, out, err = kfbridge(service, "drain", "gpu", "--json")
    assert code == 0
    assert json.loads(out)["items"][0]["switch"]["mode"] == "drained"
    assert ["2 runs under way" in err, "1 runs under way" in err] == [True, True]


def test_a_drain_that_takes_too_long_is_told_and_stays() -> None:
    service = Service()
    service.left = 1000
    code, _, err = kfbridge(service, "drain", "gpu", "--timeout", "0s")
    assert code == 4
    assert "still has 1,000 runs under way" in err
    assert kfbridge(service, "drain", "gpu", "--no-wait")[0] == 0
    assert service.mode == "draining"


@pytest.mark.parametrize("argv", [("pause",), ("list", "gpu")])
def test_a_name_where_it_belongs(argv: tuple[str, ...]) -> None:
    assert kfbridge(Service(), *argv)[0] == 2
