"""What several routes need: the context, reading a body, waiting times, the presenter."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import Depends, Path, Request, Response
from pydantic import BaseModel, ValidationError

from bridge.client.models import RunModel
from bridge.domain.access import Action
from bridge.domain.causes import Cause
from bridge.domain.hosts import is_foreign_change
from bridge.domain.lineage import Run
from bridge.domain.states import RunPhase, RuntimeState
from bridge.lineage import quarantine, runs
from bridge.lineage.causes import causes_of
from bridge.service.access.caller import Caller
from bridge.service.access.places import Site, is_foreign_read, site_of
from bridge.service.backends import waiting_for
from bridge.service.bodies import check_values
from bridge.service.context import Context
from bridge.service.limits import note_session
from bridge.service.problems import ProblemError
from bridge.service.queueing import waiting_reasons
from bridge.service.rates import note_caller

ModelT = TypeVar("ModelT", bound=BaseModel)
ValueT = TypeVar("ValueT")
_KNOWN_CHECK_SECONDS = 1.0
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|m)?\s*$")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}
MAX_LIMIT = 200
PAGE_HEADER = "KFBridge-Page"


async def get_context(request: Request) -> Context:
    """The context of the process that serves the request."""
    # Async, because anything else is run in a thread.
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]
# The databases count in 64 bits.
RowNumber = Annotated[int, Path(ge=1, le=2**63 - 1)]


async def get_caller(request: Request, context: ContextDep) -> Caller:
    """Who asks, by their token or their browser's session; a request of nobody that is known is refused,
    where callers are asked.

    A token is also taken as the password of ``Authorization: Basic``: for reading, and for changing with the
    header ``KFBridge-Page``. A browser sends what it has, password and cookie, along with a foreign page's
    form, too, but lets no foreign page set a header that the service has not allowed it.

    Without a token a foreign page that a browser shows beside could change things by a form of its own:
    what browsers tell of it (Fetch Metadata) is looked at. Programs send no such header.
    """
    if is_foreign_change(request.method, request.headers):
        raise ProblemError("foreign-page", "another site's page sent this by a browser; nothing was done")
    if "authorization" not in request.headers and context.authenticator.required:
        cookie = session_cookie(request, context)
        if cookie:
            return await _signed_in(request, context, cookie)
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    token = given.strip() if scheme.lower() == "bearer" else ""
    is_own = request.method in ("GET", "HEAD") or PAGE_HEADER in request.headers
    if scheme.lower() == "basic" and is_own:
        token = basic_password(given)
    principal = await context.authenticator.principal_of(token)
    note_caller(request, principal)
    return Caller(principal)


async def _signed_in(request: Request, context: Context, cookie: str) -> Caller:
    """Who has the session of a cookie, which a browser sends by itself, whoever's page asks."""
    if request.method not in ("GET", "HEAD") and PAGE_HEADER not in request.headers:
        raise ProblemError(
            "foreign-page", f"a change by a session needs the header {PAGE_HEADER}; nothing was done"
        )
    if is_foreign_read(request.headers):
        raise ProblemError("foreign-page", "another site's page asked for this by a browser")
    found = await context.authenticator.signed_in(cookie)
    note_caller(request, found.principal)
    note_session(request)
    return Caller(found.principal, found)


async def while_known(request: Request, context: Context, waiting: Awaitable[ValueT]) -> ValueT:
    """What comes of waiting on behalf of a caller, as long as they are known: a wait may outlive the token or
    the session that it was begun with. Raises ``ProblemError`` then."""
    if not context.authenticator.required:
        return await waiting
    task = asyncio.ensure_future(waiting)
    try:
        while True:
            done, _ = await asyncio.wait([task], timeout=_KNOWN_CHECK_SECONDS)
            if done:
                return task.result()
            await get_caller(request, context)
    finally:
        task.cancel()


def site_asked(request: Request, context: Context) -> Site:
    """The service as the request's browser knows it."""
    return site_of(context.settings.public_url, request)


def session_cookie(request: Request, context: Context) -> str:
    """The secret of the browser's session; empty if it has none."""
    return request.cookies.get(site_asked(request, context).cookie("session"), "")


CallerDep = Annotated[Caller, Depends(get_caller)]


def basic_password(given: str) -> str:
    """The password in the value of a Basic ``Authorization`` header; empty if it is none."""
    try:
        return base64.b64decode(given, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


async def read_body(request: Request, model: type[ModelT]) -> ModelT:
    """The request's body as a message. Raises ``ProblemError`` with a JSON pointer to each mistake.

    The parser bounds depth by itself, which Python's own does not do in a way that can be caught.
    """
    raw = await request.body()
    check_values(raw)
    try:
        return model.model_validate_json(raw or b"{}")
    except ValidationError as error:
        fields = [(pointer(item["loc"]), str(item["msg"])) for item in error.errors(include_url=False)]
        detail = "; ".join(f"{place or '/'}: {text}" for place, text in fields[:3])
        raise ProblemError("invalid-request", detail, errors=fields) from error


def as_json(model: BaseModel, status_code: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A message as the answer, where FastAPI is not to make it."""
    return Response(
        model.model_dump_json(), status_code=status_code, headers=headers, media_type="application/json"
    )


def pointer(location: tuple[Any, ...]) -> str:
    """A JSON pointer from the place that pydantic names."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def seconds_of(text: str | None, longest: float) -> float:
    """How long a caller wants to wait (``30s``, ``500ms``, ``1m``, ``30``), at most ``longest``."""
    if text is None:
        return 0.0
    match = _DURATION.match(text)
    if match is None:
        told = f"wait={text} is no duration; write 30s"
        raise ProblemError("invalid-request", told, errors=[("/wait", told)])
    return min(longest, float(match.group(1)) * _UNITS[match.group(2)])


async def stored_run(context: Context, caller: Caller, run_id: UUID, action: Action = Action.READ) -> Run:
    """The run, or a ``not-found`` problem; ``forbidden`` if the caller sees it and may not do that."""
    return seen_run(caller, await context.store.read(lambda s: runs.get_run(s, run_id)), run_id, action)


def seen_run(caller: Caller, run: Run | None, run_id: UUID, action: Action = Action.READ) -> Run:
    """The same of a run that was looked for already."""
    if run is None or not caller.sees(run.project):
        raise ProblemError("not-found", f"there is no run {run_id}")
    caller.need(action, run.project)
    return run


async def waiting_warnings(context: Context, run: Run) -> list[str]:
    """Why a run that was not sent yet is not, if its backend is in trouble.

    Another process may be the one that follows the backend; what it wrote down counts then.
    """
    backend = context.backends.get(run.backend)
    if backend is None or run.phase not in (RunPhase.QUEUED, RunPhase.SUBMITTING):
        return []
    since, told = backend.stale_since, backend.last_error
    if since is None and not context.settings.workers:
        states = [one for one in await context.backend_states() if one.backend == run.backend]
        since, told = next(
            ((one.stale_since, one.last_error) for one in states if one.stale_since), (None, None)
        )
    if since is None or not told:
        return []
    # What a POST may have reached is not sent again.
    then = "the run is sent" if run.phase is RunPhase.QUEUED else "it is asked whether it has the run"
    return [waiting_for(backend.settings, since, told, then=then)]


async def stored_causes(context: Context, run: Run) -> list[Cause]:
    """Why the run failed or waits, the likeliest first; for most runs the database need not be asked."""
    backend = context.backends.get(run.backend)
    may_wait = run.phase is RunPhase.ACTIVE and backend is not None and backend.cluster is not None
    if not may_wait and run.state is not RuntimeState.FAILED:
        return []
    return await context.store.read(lambda s: causes_of(s, run.run_id))


def present(
    context: Context,
    request: Request,
    run: Run,
    warnings: list[str] | None = None,
    waiting: str | None = None,
    *,
    causes: Sequence[Cause] = (),
) -> RunModel:
    """The run as this request's caller sees it."""
    backend = context.backends.get(run.backend)
    return context.presenter.run(
        run,
        base_url=str(request.base_url),
        stale_since=backend.stale_since if backend else None,
        warnings=warnings,
        waiting=waiting,
        causes=causes,
    )


async def present_whole(context: Context, request: Request, run: Run) -> RunModel:
    """The same, with all that keeps it from being sent."""
    why = await waiting_reasons(context.store, context.settings, [run])
    aside = await context.store.read(lambda s: quarantine.of_run(s, run.run_id))
    told = [
        f"the work to {one.work} this run was set aside after {one.failures} failures: {one.reason}; "
        f"kfbridge quarantine release {one.number} has it tried again"
        for one in aside
    ]
    warnings = [*told, *await waiting_warnings(context, run)]
    causes = await stored_causes(context, run)
    return present(context, request, run, warnings, why.get(run.run_id), causes=causes)


async def present_all(context: Context, request: Request, found: Sequence[Run]) -> list[RunModel]:
    """A page of runs as this request's caller sees it, with what those in the queue wait for."""
    why = await waiting_reasons(context.store, context.settings, found)
    return [present(context, request, run, waiting=why.get(run.run_id)) for run in found]
