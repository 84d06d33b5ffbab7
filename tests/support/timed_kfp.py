"""The fake KFP server as a process of its own, over HTTP, whose runs end by themselves after a moment.

``python -m tests.support.timed_kfp --port N`` serves until it is stopped. It is cheap: what is measured or
broken beside it gets the machine. Metadata has the native shape: a root and one task with a metric.
"""

from __future__ import annotations

import argparse
import heapq
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.fake_kfp import API, EPOCH, FakeKfp, Row

FACTS = "/facts"
_START_SECONDS = 0.3


@dataclass
class TimedKfp(FakeKfp):
    """Runs start after a moment and succeed after a random one between the two bounds, in seconds."""

    shortest_seconds: float = 1.0
    longest_seconds: float = 4.0
    chance: random.Random = field(default_factory=random.Random)
    _plan: list[tuple[float, str, str]] = field(default_factory=list)

    def _answer(self, method: str, path: str, request: httpx.Request) -> httpx.Response:
        self._advance()
        if path == FACTS:
            return httpx.Response(200, json=self.facts())
        if path == f"{API}/artifact_tasks":
            if b"run_ids" in request.url.query:
                return httpx.Response(200, json={"artifact_tasks": []})
            return httpx.Response(400, json={"code": 3, "message": "name a run, a task or an artifact"})
        if path.startswith(f"{API}/runs/") and path.endswith("/tasks"):
            return self._tasks(path.removeprefix(f"{API}/runs/").removesuffix("/tasks"))
        return super()._answer(method, path, request)

    def facts(self) -> dict[str, Any]:
        """What the server was really asked: how often each run_id was posted, and its Workflows."""
        return {"posted": Counter(self.workflows), "workflows": len(self.workflows)}

    def _create_run(self, body: Row) -> httpx.Response:
        answer = super()._create_run(body)
        if answer.is_success:
            run_id, began = answer.json()["run_id"], time.monotonic()
            heapq.heappush(self._plan, (began + _START_SECONDS, run_id, "RUNNING"))
            seconds = self.chance.uniform(self.shortest_seconds, self.longest_seconds)
            heapq.heappush(self._plan, (began + seconds, run_id, "SUCCEEDED"))
        return answer

    def _advance(self) -> None:
        """Let what is planned happen, up to now."""
        while self._plan and self._plan[0][0] <= time.monotonic():
            _, run_id, state = heapq.heappop(self._plan)
            row = self.runs[run_id]
            if row["state"] == "CANCELING" or row["finished_at"] != EPOCH:
                if row["finished_at"] == EPOCH:
                    self.finish(run_id, "CANCELED")
            elif state == "RUNNING":
                self.start(run_id)
            else:
                self.finish(run_id)

    def _tasks(self, run_id: str) -> httpx.Response:
        row = self.runs.get(run_id)
        if row is None:
            return httpx.Response(404, json={"code": 5, "message": f"run {run_id} does not exist"})
        state, ended = str(row["state"]), row["finished_at"] != EPOCH
        common: Row = {"run_id": run_id, "create_time": row["created_at"], "state": state}
        common |= {"end_time": row["finished_at"]} if ended else {}
        metric: Row = {"artifact_id": f"{run_id}-loss", "name": "loss", "type": "Metric", "number_value": 0.5}
        outputs: Row = {"artifacts": [{"artifact_key": "metrics", "artifacts": [metric]}]} if ended else {}
        root: Row = {"name": "root", "task_id": f"{run_id}-root", "type": "ROOT"}
        train: Row = {"name": "train", "task_id": f"{run_id}-train", "type": "RUNTIME", "outputs": outputs}
        tasks = [common | root, common | train | {"parent_task_id": f"{run_id}-root"}]
        return httpx.Response(200, json={"tasks": tasks, "total_size": len(tasks)})


def application(server: FakeKfp) -> Any:
    """The fake as an ASGI application."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                # It died in the middle of asking.
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
        url = "http://kfp.example" + target.decode("ascii")
        request = httpx.Request(scope["method"], url, headers=scope["headers"], content=body)
        answer = await server.handle(request)
        headers = [(name.lower(), value) for name, value in answer.headers.raw]
        await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": answer.content})

    return app


def main() -> None:
    """Serve on 127.0.0.1 until stopped."""
    import uvicorn

    parser = argparse.ArgumentParser(prog="python -m tests.support.timed_kfp", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--shortest", type=float, default=1.0, help="seconds that a run takes at least")
    parser.add_argument("--longest", type=float, default=4.0, help="seconds that a run takes at most")
    options = parser.parse_args()
    server = TimedKfp(shortest_seconds=options.shortest, longest_seconds=options.longest)
    uvicorn.run(
        application(server),
        host="127.0.0.1",
        port=options.port,
        log_level="warning",
        access_log=False,
        lifespan="off",
    )


if __name__ == "__main__":
    main()
