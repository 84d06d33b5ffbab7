"""``python -m tests.support.crowded_kfp.server``: the server, and a second port for what tests ask of it."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import httpx

from bridge.kfp_api.grpcweb import CONTENT_TYPE
from tests.support.crowded_kfp.http import Answered, Asked, PlainServer
from tests.support.crowded_kfp.lists import Refused, chosen_rows, row_json
from tests.support.crowded_kfp.metadata import SERVICE, Metadata
from tests.support.crowded_kfp.rows import Row, Rows
from tests.support.fake_kfp import API, FakeKfp

RUNS = f"{API}/runs"
_REPORT_SECONDS = 0.02
# What an inline spec of ordinary size adds to each row.
_SPEC = {
    "pipelineInfo": {"name": "crowded"},
    "root": {"dag": {"tasks": {f"task-{n}": {} for n in range(300)}}},
}


class CrowdedKfp:
    """What the KFP port answers. ``list_seconds`` is how long a list of runs takes, ``inline`` whether its
    rows carry a spec, ``brief`` whether they lack the tasks that KFP's carry. Requests are counted by route,
    with the seconds they took, and by second."""

    def __init__(
        self, rows: Rows, *, list_seconds: float = 0.0, inline: bool = False, brief: bool = False
    ) -> None:
        self.rows = rows
        self.brief = brief
        self.list_seconds = list_seconds
        self.inline = inline
        self.metadata = Metadata(rows)
        self.requests: defaultdict[str, int] = defaultdict(int)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.by_second: defaultdict[int, int] = defaultdict(int)
        self._texts: dict[str, tuple[tuple[object, ...], str]] = {}
        # Pipelines and experiments are the same whatever the number of runs.
        self.others = FakeKfp()

    async def handle(self, asked: Asked) -> Answered:
        """One exchange of the KFP port."""
        began = time.monotonic()
        route = _route(asked)
        try:
            return await self._answer(asked)
        finally:
            self.requests[route] += 1
            self.seconds[route] += time.monotonic() - began
            self.by_second[int(time.time())] += 1

    async def _answer(self, asked: Asked) -> Answered:
        if asked.path.startswith(SERVICE):
            answer = self.metadata.answer(asked.path.removeprefix(SERVICE), asked.body)
            return Answered(answer, content_type=CONTENT_TYPE)
        if asked.path == RUNS:
            return await self._list(asked) if asked.method == "GET" else self._create(json.loads(asked.body))
        if asked.path.startswith(f"{RUNS}/"):
            return self._one(asked)
        request = httpx.Request(
            asked.method, f"http://kfp{asked.path}?{asked.query}", content=asked.body, headers=asked.headers
        )
        other = await self.others.handle(request)
        return Answered(other.content, other.status_code, other.headers.get("content-type", "text/plain"))

    async def _list(self, asked: Asked) -> Answered:
        try:
            found, frame = chosen_rows(self.rows, dict(parse_qsl(asked.query)))
        except Refused as error:
            return _error(400, 3, str(error))
        rows = ",".join([self._text(row) for row in found])
        told = f'{{"runs": [{rows}], {json.dumps(frame)[1:]}'
        # What a slow list tells is as old as its beginning.
        await asyncio.sleep(self.list_seconds)
        return Answered(told.encode())

    def _text(self, row: Row) -> str:
        """The row as JSON; it hardly ever changes, and is asked for with every sweep."""
        key = (self.rows.show(row), row.finished_s, row.done, self.inline)
        known = self._texts.get(row.run_id)
        if known is None or known[0] != key:
            spec = _SPEC if self.inline else None
            told = row_json(self.rows, row, spec=spec, tasks=not self.brief)
            known = self._texts[row.run_id] = (key, json.dumps(told))
        return known[1]

    def _create(self, body: dict[str, Any]) -> Answered:
        run_id = body.get("run_id") or str(uuid4())
        if run_id in self.rows.by_id:
            return _error(500, 13, "duplicate entry for key PRIMARY")
        version = (body.get("pipeline_version_reference") or {}).get("pipeline_version_id")
        if "pipeline_spec" not in body and version not in self.others.versions:
            return _error(404, 5, "pipeline version not found")
        row = self.rows.add(run_id)
        row.body = {name: value for name, value in body.items() if name != "run_id"}
        return _ok(self._shown(row))

    def _one(self, asked: Asked) -> Answered:
        run_id, _, verb = asked.path.removeprefix(f"{RUNS}/").partition(":")
        row = self.rows.by_id.get(run_id)
        if row is None:
            return _error(404, 5, f"run {run_id} not found")
        if asked.method == "DELETE":
            self.rows.delete(row)
            return _ok({})
        if verb == "terminate":
            if self.rows.show(row) not in ("PENDING", "RUNNING", "PAUSED"):
                return _error(400, 9, "the run cannot be terminated")
            row.state = "CANCELING"
            self.rows.finish([row], "CANCELED", (0.2, 0.5))
            return _ok({})
        if verb == "retry":
            if row.state not in ("FAILED", "CANCELED"):
                return _error(400, 9, "only failed runs can be retried")
            self.rows.revive(row)
            return _ok({})
        return _ok(self._shown(row))

    def _shown(self, row: Row) -> dict[str, Any]:
        return row_json(self.rows, row, spec=_SPEC if self.inline else None, tasks=True)


class Control:
    """The second port: what tests make the server do, and what it tells of itself."""

    def __init__(self, kfp: CrowdedKfp, server: PlainServer) -> None:
        self._kfp = kfp
        self._server = server
        self._work: set[asyncio.Task[None]] = set()

    async def handle(self, asked: Asked) -> Answered:
        """One wish, as JSON."""
        wish = json.loads(asked.body) if asked.body else {}
        match asked.path:
            case "/set":
                for name in ("list_seconds", "inline"):
                    setattr(self._kfp, name, wish.get(name, getattr(self._kfp, name)))
                return _ok({})
            case "/finish":
                rows = self._chosen(wish.get("ids"), wish.get("count", 0))
                self._kfp.rows.finish(rows, wish.get("state", "SUCCEEDED"), tuple(wish.get("lag", (0, 0))))
                return _ok({"ids": [row.run_id for row in rows]})
            case "/ends":
                self._go_on(
                    self._ends(
                        wish["rate"], wish["seconds"], tuple(wish.get("lag", (0, 0))), wish.get("steps", 0)
                    )
                )
                return _ok({})
            case "/restart":
                self._go_on(self._restart(wish["seconds"]))
                return _ok({})
            case "/down":
                await self._server.stop()
                return _ok({})
            case "/up":
                await self._server.start()
                return _ok({})
        return self._tell(asked.path)

    def _tell(self, path: str) -> Answered:
        rows = self._kfp.rows
        match path:
            case "/counts":
                requests, seconds = self._kfp.requests, self._kfp.seconds
                return _ok(
                    {route: {"requests": requests[route], "seconds": seconds[route]} for route in requests}
                )
            case "/rates":
                return _ok(self._kfp.by_second)
            case "/open":
                return _ok([row.run_id for row in rows.open_rows()])
            case "/told":
                return _ok({row.run_id: [row.state, row.changed_at] for row in rows.all if row.changed_at})
        return _error(404, 5, f"no route {path}")

    def _chosen(self, ids: Sequence[str] | None, count: int) -> list[Row]:
        rows = self._kfp.rows
        if ids is not None:
            return [rows.by_id[one] for one in ids]
        going = rows.open_rows()
        return rows.random.sample(going, min(count, len(going)))

    def _go_on(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _ends(self, rate: float, seconds: float, lag: tuple[float, float], steps: int) -> None:
        """So many ends a second; before each, ``steps`` of its tasks finish one by one, a second apart."""
        rows = self._kfp.rows
        chosen = self._chosen(None, int(rate * seconds))
        began = time.monotonic()
        for place in range(len(chosen) + int(rate * steps)):
            await asyncio.sleep(max(0.0, began + place / rate - time.monotonic()))
            for step in range(steps):
                at = place - int(rate * step)
                if 0 <= at < len(chosen) and chosen[at].done <= step:
                    rows.advance(chosen[at], step + 1)
            at = place - int(rate * steps)
            if 0 <= at < len(chosen):
                failed = at % 10 == 9
                rows.finish([chosen[at]], "FAILED" if failed else "SUCCEEDED", lag)

    async def _restart(self, seconds: float) -> None:
        await self._server.stop()
        await asyncio.sleep(seconds)
        await self._server.start()


async def _serve(options: argparse.Namespace) -> None:
    rows = Rows(tuple(name for name in options.namespaces.split(",") if name))
    rows.fill(options.runs - options.active, options.active, stateless_every=options.stateless_every)
    kfp = CrowdedKfp(
        rows, list_seconds=options.list_seconds, inline=options.inline, brief=bool(options.brief)
    )
    kfp.others.multi_user = bool(rows.namespaces)
    server = PlainServer(kfp.handle)
    control = PlainServer(Control(kfp, server).handle)
    await server.start()
    await control.start()
    print(f"ready {server.url} {control.url}", flush=True)
    while True:
        rows.report()
        await asyncio.sleep(_REPORT_SECONDS)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--active", type=int, default=10_000, help="how many of them go on")
    parser.add_argument("--list-seconds", type=float, default=0.0)
    parser.add_argument("--namespaces", default="", help="multi-user: their names, with commas")
    parser.add_argument("--stateless-every", type=int, default=50, help="every so many rows have no state")
    parser.add_argument("--brief", type=int, default=0, help="1: lists without tasks")
    parser.add_argument("--inline", action="store_true", help="rows carry an inline spec")
    asyncio.run(_serve(parser.parse_args()))


def _route(asked: Asked) -> str:
    """The request's kind: without ids."""
    if asked.path.startswith(f"{RUNS}/"):
        verb = asked.path.partition(":")[2]
        return f"{asked.method} {RUNS}/{{id}}{':' if verb else ''}{verb}"
    return f"{asked.method} {asked.path}"


def _ok(body: Any) -> Answered:
    return Answered(json.dumps(body).encode())


def _error(status: int, code: int, message: str) -> Answered:
    body = {"error": message, "code": code, "message": message, "details": []}
    return Answered(json.dumps(body).encode(), status)


if __name__ == "__main__":
    main()
