"""A KFP server with a fixed number of slots, as a process of its own: further runs are PENDING until one is
free, and every run takes so many seconds. Its metadata is of the native shape, two tasks a run.

A run's kind is its name up to the first space; the most runs of each kind that were not ended at the same
time are counted, and when each came and began.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from tests.support.fake_kfp import API, FakeKfp, Row

_CONTROL = "/busy"


@dataclass
class BusyKfp(FakeKfp):
    """The server itself; ``times`` are (created, started, ended) by run, seconds since the epoch."""

    slots: int = 20
    seconds: float = 0.5
    times: dict[str, list[float]] = field(default_factory=dict)
    open: Counter[str] = field(default_factory=Counter)
    most_open: Counter[str] = field(default_factory=Counter)
    running: int = 0
    pending: deque[str] = field(default_factory=deque)

    def _answer(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        if path == _CONTROL:
            return httpx.Response(200, json=self._told())
        if path == f"{API}/artifact_tasks" and b"run_ids" in request.url.query:
            return httpx.Response(200, json={})
        if path == f"{API}/artifact_tasks":
            return httpx.Response(400, json={"code": 3, "message": "name a run, a task or an artifact"})
        if path.startswith(f"{API}/runs/") and path.endswith("/tasks"):
            return httpx.Response(200, json={"tasks": self._tasks(path.split("/")[-2])})
        return super()._answer(method, path, request)

    def _create_run(self, body: Row) -> httpx.Response:
        answer = super()._create_run(body)
        if answer.is_success:
            run_id = answer.json()["run_id"]
            self.times[run_id] = [time.time()]
            kind = self._kind(run_id)
            self.open[kind] += 1
            self.most_open[kind] = max(self.most_open[kind], self.open[kind])
            self.pending.append(run_id)
            self._begin()
        return answer

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        while self.pending and self.running < self.slots:
            run_id = self.pending.popleft()
            self.running += 1
            self.start(run_id)
            self.times[run_id].append(time.time())
            loop.call_later(self.seconds, self._end, run_id)

    def _end(self, run_id: str) -> None:
        self.finish(run_id)
        self.times[run_id].append(time.time())
        self.running -= 1
        self.open[self._kind(run_id)] -= 1
        self._begin()

    def _kind(self, run_id: str) -> str:
        return str(self.runs[run_id].get("display_name", "")).partition(" ")[0]

    def _tasks(self, run_id: str) -> list[Row]:
        row = self.runs.get(run_id)
        if row is None:
            return []
        state = row["state"]
        root = {"task_id": f"{run_id}-0", "name": "root", "type": "ROOT", "state": state}
        work = {"task_id": f"{run_id}-1", "name": "work", "type": "RUNTIME", "state": state}
        return [root, {**work, "parent_task_id": root["task_id"]}]

    def _told(self) -> dict[str, Any]:
        names = {run_id: row.get("display_name") for run_id, row in self.runs.items()}
        runs = [{"name": names[run_id], "times": times} for run_id, times in self.times.items()]
        return {"runs": runs, "most_open": self.most_open}


@dataclass(frozen=True)
class Busy:
    """A running server as a test meets it."""

    url: str
    process: subprocess.Popen[bytes] = field(repr=False)
    # One for all questions: to make one takes long enough to hold up a proxy in the same process.
    client: httpx.Client = field(repr=False)

    def runs(self) -> dict[str, list[float]]:
        """When each run came, began and ended, by its name; seconds since the epoch."""
        return {run["name"]: run["times"] for run in self._told()["runs"]}

    def most_open(self) -> dict[str, int]:
        """The most runs of each kind that had come and not ended at the same time."""
        return dict(self._told()["most_open"])

    def _told(self) -> Any:
        return self.client.get(_CONTROL).raise_for_status().json()


@contextmanager
def busy_kfp(log: Path, *, slots: int, seconds: float) -> Iterator[Busy]:
    """A server with so many slots, whose runs take so long; stopped at the end of the block."""
    command = [
        sys.executable,
        "-m",
        "tests.support.busy_kfp",
        "--slots",
        str(slots),
        "--seconds",
        str(seconds),
    ]
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output)
    assert process.stdout is not None
    try:
        said = process.stdout.readline().decode().split()
        assert said[:1] == ["ready"], f"the server did not start:\n{log.read_text(errors='replace')}"
        with httpx.Client(base_url=said[1], timeout=30, trust_env=False) as client:
            yield Busy(said[1], process, client)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class _Application:
    """The fake's transport as an ASGI application."""

    def __init__(self, kfp: BusyKfp) -> None:
        self._kfp = kfp

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        url = f"http://kfp{scope['path']}?{scope['query_string'].decode()}"
        answer = await self._kfp.handle(
            httpx.Request(scope["method"], url, headers=scope["headers"], content=body)
        )
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})


class _Server(uvicorn.Server):
    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets=sockets)
        port = self.servers[0].sockets[0].getsockname()[1]
        print(f"ready http://127.0.0.1:{port}", flush=True)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    kfp = BusyKfp(slots=options.slots, seconds=options.seconds)
    config = uvicorn.Config(
        _Application(kfp), port=0, log_level="warning", lifespan="off", access_log=False, log_config=None
    )
    _Server(config).run()


if __name__ == "__main__":
    main()
