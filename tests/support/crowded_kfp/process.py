"""Starts a crowded KFP server as a process of its own, and asks things of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx


@dataclass
class Crowd:
    """A running server. ``url`` is KFP's; everything else goes to the port beside it."""

    url: str
    process: subprocess.Popen[str] = field(repr=False)
    control: httpx.Client = field(repr=False)

    def open_runs(self) -> list[UUID]:
        """The runs that go on."""
        return [UUID(one) for one in self._get("/open")]

    def set(self, **settings: Any) -> None:
        """``list_seconds``: how long a list of runs takes; ``inline``: rows carry a spec."""
        self._post("/set", settings)

    def finish(
        self,
        count: int = 0,
        *,
        ids: Sequence[UUID] | None = None,
        state: str = "SUCCEEDED",
        lag: tuple[float, float] = (0, 0),
    ) -> list[UUID]:
        """So many runs end, or these; their rows tell it after a lag of so many seconds."""
        wish = {"count": count, "state": state, "lag": lag}
        if ids is not None:
            wish["ids"] = [str(one) for one in ids]
        return [UUID(one) for one in self._post("/finish", wish)["ids"]]

    def begin_ends(
        self, rate: float, seconds: float, *, lag: tuple[float, float] = (0, 0), steps: int = 0
    ) -> None:
        """From now on so many runs a second end, every tenth FAILED. With ``steps``, as many of a run's tasks
        finish before its end, a second apart, which makes the whole so much longer."""
        self._post("/ends", {"rate": rate, "seconds": seconds, "lag": lag, "steps": steps})

    def restart(self, seconds: float) -> None:
        """Refuse connections for so long; rows are kept."""
        self._post("/restart", {"seconds": seconds})

    @contextmanager
    def away(self) -> Iterator[None]:
        """Refuse connections inside the block; rows are kept, and runs go on."""
        self._post("/down", {})
        try:
            yield
        finally:
            self._post("/up", {})

    def requests(self) -> dict[str, int]:
        """How many requests there were, by route."""
        return {route: told["requests"] for route, told in self._get("/counts").items()}

    def seconds(self) -> dict[str, float]:
        """How many seconds they took the server, by route."""
        return {route: told["seconds"] for route, told in self._get("/counts").items()}

    def told(self) -> dict[UUID, tuple[str, float]]:
        """The ends that rows have come to tell since the start: state, and when (seconds since the epoch)."""
        return {UUID(one): (state, at) for one, (state, at) in self._get("/told").items()}

    def _get(self, path: str) -> Any:
        return self.control.get(path).raise_for_status().json()

    def _post(self, path: str, wish: Any) -> Any:
        return self.control.post(path, json=wish).raise_for_status().json()


@contextmanager
def crowded_kfp(log: Path, *, runs: int = 100_000, active: int = 10_000, **options: Any) -> Iterator[Crowd]:
    """A server with so many runs, some of them going on, stopped at the end of the block. ``options`` as of
    the command line: ``list_seconds``, ``namespaces``, ``brief``."""
    command = [
        sys.executable,
        "-m",
        "tests.support.crowded_kfp.server",
        "--runs",
        str(runs),
        "--active",
        str(active),
    ]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().split()
        assert said[:1] == ["ready"], f"the server did not start:\n{log.read_text(errors='replace')}"
        with httpx.Client(base_url=said[2], timeout=60, trust_env=False) as control:
            yield Crowd(said[1], process, control)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
