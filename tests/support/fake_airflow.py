"""The part of Airflow's API that the bridge asks, in memory."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import httpx

Key = tuple[str, str, str, int]


@dataclass
class FakeAirflow:
    """An Airflow with these task instances by DAG, DagRun, task and map index, and their states.

    ``after`` are the tasks after each task. ``users`` have passwords; without any, tokens are given to
    everybody. ``status`` is answered instead, while it is set. ``requests`` are method and path.
    """

    states: dict[Key, str | None] = field(default_factory=dict)
    after: dict[str, list[str]] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    status: int | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)
    _tokens: list[str] = field(default_factory=list)

    @property
    def transport(self) -> httpx.MockTransport:
        """Where its clients send to."""
        return httpx.MockTransport(self.handle)

    def forget_tokens(self) -> None:
        """As if every token were over."""
        self._tokens.clear()

    def handle(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        path = request.url.raw_path.decode()
        self.requests.append((request.method, path))
        if self.status is not None:
            return httpx.Response(self.status, json={"detail": "as the test wished"})
        if path == "/auth/token":
            return self._login(request)
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self._tokens:
            return httpx.Response(401, json={"detail": "Invalid JWT token"})
        parts = [unquote(part) for part in path.removeprefix("/api/v2/dags/").split("/")]
        if parts[1] == "clearTaskInstances":
            return self._clear(parts[0], json.loads(request.content))
        index = int(parts[5]) if len(parts) > 5 else -1
        state = self.states.get((parts[0], parts[2], parts[4], index), "missing")
        if state == "missing":
            return httpx.Response(404, json={"detail": "The Task Instance was not found"})
        return httpx.Response(200, json={"task_id": parts[4], "map_index": index, "state": state})

    def _login(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            if self.users:
                return httpx.Response(403, json={"detail": "not for everybody"})
        else:
            given = json.loads(request.content)
            if self.users.get(given["username"]) != given["password"]:
                return httpx.Response(401, json={"detail": "Invalid credentials"})
        self._tokens.append(f"token-{len(self.requests)}")
        return httpx.Response(201, json={"access_token": self._tokens[-1]})

    def _clear(self, dag_id: str, body: dict[str, Any]) -> httpx.Response:
        self.bodies.append(body)
        wanted = [(one, -1) if isinstance(one, str) else tuple(one) for one in body["task_ids"]]
        if body["include_downstream"]:
            wanted += [(later, -1) for task, _ in wanted for later in self.after.get(task, [])]
        cleared = []
        for task, index in wanted:
            self.states[(dag_id, body["dag_run_id"], task, index)] = None
            cleared.append({"task_id": task, "map_index": index})
        return httpx.Response(200, json={"task_instances": cleared, "total_entries": len(cleared)})


@contextmanager
def serve_airflow(airflow: FakeAirflow) -> Iterator[str]:
    """The fake's address, for the length of the block."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nothing: what was asked is in ``requests``."""

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            asked = httpx.Request(
                self.command, f"http://airflow{self.path}", headers=dict(self.headers), content=body
            )
            told = airflow.handle(asked)
            self.send_response(told.status_code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(told.content)))
            self.end_headers()
            self.wfile.write(told.content)

        do_GET = do_POST = _answer

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
