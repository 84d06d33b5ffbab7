"""A server of the native artifact and task API in memory, in small pages, through httpx's own seam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from bridge.kfp_api.client import API, KfpClient
from bridge.kfp_api.retry import RetryPolicy

T0 = "2026-01-02T03:04:{:02d}Z"


def at(second: int) -> str:
    """A time of the run."""
    return T0.format(second)


def given(
    key: str,
    *artifacts: Mapping[str, Any],
    kind: str = "OUTPUT",
    task: str = "",
    iteration: int | None = None,
) -> dict[str, Any]:
    """Artifacts that a task got or gave under a key."""
    producer = {"task_name": task} | ({} if iteration is None else {"iteration": str(iteration)})
    return {"artifacts": list(artifacts), "type": kind, "artifact_key": key, "producer": producer}


def parameter(key: str, value: Any, kind: str = "OUTPUT", iteration: int | None = None) -> dict[str, Any]:
    """A parameter that a task got or gave."""
    producer = {} if iteration is None else {"producer": {"iteration": str(iteration)}}
    return {"parameter_key": key, "value": value, "type": kind, **producer}


@dataclass
class FakeNative:
    """Tasks and links of one run. ``bare`` leaves the artifacts out of the tasks."""

    page_size: int = 2
    bare: bool = False
    tasks: list[Any] = field(default_factory=list)
    links: list[Any] = field(default_factory=list)
    artifacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    replies: dict[str, httpx.Response] = field(default_factory=dict)

    def task(
        self,
        task_id: str,
        parent: str | None = None,
        kind: str = "RUNTIME",
        state: str = "SUCCEEDED",
        *,
        name: str | None = None,
        iteration: int | None = None,
        got: list[Any] | None = None,
        gave: list[Any] | None = None,
        inputs: list[Any] | None = None,
        outputs: list[Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """A task that began at the second of its number."""
        made: dict[str, Any] = {
            "task_id": task_id,
            "name": name or task_id,
            "type": kind,
            "state": state,
            "create_time": at(len(self.tasks)),
            "end_time": at(len(self.tasks) + 1),
            "inputs": {"parameters": inputs or [], "artifacts": got or []},
            "outputs": {"parameters": outputs or [], "artifacts": gave or []},
        }
        if parent is not None:
            made["parent_task_id"] = parent
        if iteration is not None:
            made["type_attributes"] = {"iteration_index": str(iteration)}
        self.tasks.append(made | more)
        return self.tasks[-1]

    def artifact(self, artifact_id: str, kind: str = "Model", **more: Any) -> dict[str, Any]:
        """An artifact, known by its id too."""
        made = {"artifact_id": artifact_id, "type": kind, "name": artifact_id, "created_at": at(0), **more}
        self.artifacts[artifact_id] = made
        return made

    def client(self) -> KfpClient:
        """A client that reaches this server and nothing else."""

        async def no_wait(seconds: float) -> None:
            return None

        transport = httpx.MockTransport(self.handle)
        return KfpClient(
            "http://kfp.example", transport=transport, retry=RetryPolicy(attempts=2), sleep=no_wait
        )

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """One exchange."""
        path = request.url.path
        self.asked.append(path)
        if path in self.replies:
            reply = self.replies[path]
            return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        if path.endswith("/tasks"):
            tasks = [_bare(one) for one in self.tasks] if self.bare else self.tasks
            return self._page(request, "tasks", tasks)
        if path == f"{API}/artifact_tasks":
            if "run_ids" not in request.url.params:
                return httpx.Response(400, json={"code": 3, "message": "At least one filter is required"})
            return self._page(request, "artifact_tasks", self.links)
        found = self.artifacts.get(path.removeprefix(f"{API}/artifacts/"))
        if found is None:
            return httpx.Response(404, json={"code": 5, "message": "Not Found"})
        return httpx.Response(200, json=found)

    def _page(self, request: httpx.Request, name: str, rows: list[Any]) -> httpx.Response:
        start = int(request.url.params.get("page_token", 0))
        end = start + self.page_size
        body: dict[str, Any] = {name: rows[start:end], "total_size": len(rows)}
        if end < len(rows):
            body["next_page_token"] = str(end)
        return httpx.Response(200, json=body)


def _bare(task: dict[str, Any]) -> dict[str, Any]:
    return {
        **task,
        **{side: {"parameters": task[side]["parameters"]} for side in ("inputs", "outputs")},
    }
