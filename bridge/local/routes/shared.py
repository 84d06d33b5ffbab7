"""What all routes share: the backend behind a request, its parameters, JSON answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from bridge.local.object_store import ObjectStore
from bridge.local.retention import Retention
from bridge.local.scheduler import Scheduler
from bridge.local.settings import LocalSettings
from bridge.local.specs import SpecCache
from bridge.local.status import invalid
from bridge.local.store import Store
from bridge.local.store_listing import ListRequest
from bridge.local.supervisor import Supervisor

PREFIX = "/apis/v2beta1"


@dataclass(frozen=True, slots=True)
class Backend:
    """The parts of one running backend."""

    settings: LocalSettings
    store: Store
    specs: SpecCache
    supervisor: Supervisor
    scheduler: Scheduler
    retention: Retention
    objects: ObjectStore | None


def backend_of(request: Request) -> Backend:
    """The backend that a request was sent to."""
    backend: Backend = request.app.state.backend
    return backend


def encode(body: Any) -> bytes:
    """The bytes of a JSON answer; what may be long is encoded where it is read, off the event loop."""
    return json.dumps(body, ensure_ascii=False).encode()


def encoded(body: bytes, status: int = 200) -> Response:
    """An answer of JSON that is encoded already."""
    return Response(body, status, media_type="application/json")


def answer(body: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return encoded(encode(body), status)


def list_request(request: Request) -> ListRequest:
    """The query parameters that every list takes. Raises ``StatusError`` (400)."""
    query = request.query_params
    return ListRequest(
        page_size=_whole_number(query.get("page_size", "")),
        page_token=query.get("page_token", ""),
        sort_by=query.get("sort_by", ""),
        filter=query.get("filter", ""),
    )


def full_view(request: Request) -> bool:
    """Whether a run is asked for with its tasks; servers of MLMD's shape know no ``view``.

    Raises ``StatusError`` (400) for one that is neither of the two.
    """
    view = request.query_params.get("view", "DEFAULT")
    if backend_of(request).settings.metadata == "native" and view not in ("DEFAULT", "FULL"):
        raise invalid(f"view must be DEFAULT or FULL, not {view!r}")
    return view == "FULL"


def _whole_number(text: str) -> int:
    if not text:
        return 0
    try:
        number = int(text)
    except ValueError as error:
        raise invalid(f"page_size must be an integer, not {text!r}") from error
    if not -(2**31) <= number < 2**31:
        raise invalid(f"page_size must be an integer of 32 bits, not {text!r}")
    return number


def truth(text: str | None) -> bool:
    """A boolean query parameter as protojson reads it."""
    return (text or "").lower() in ("true", "1")
