"""``/oncall``: what whoever is on call has to look at."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from bridge.client.oncall import OnCallModel
from bridge.lineage.database import now as database_now
from bridge.service.oncall import read_oncall
from bridge.service.problems import ProblemError
from bridge.service.routes.common import CallerDep, ContextDep

router = APIRouter(tags=["on call"])

_WINDOW = re.compile(r"(\d{1,4})(m|h|d)")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_LONGEST = timedelta(days=7)


@router.get("/oncall", response_model=OnCallModel)
async def on_call(
    context: ContextDep,
    caller: CallerDep,
    project: Annotated[str | None, Query(min_length=1, max_length=255)] = None,
    window: Annotated[str, Query(description="How far back failures count: 90m, 24h, 7d at most.")] = "24h",
) -> OnCallModel:
    """Failures by cause, runs stuck beyond their usual time, and expected runs that never started."""
    match = _WINDOW.fullmatch(window)
    length = int(match[1]) * _UNITS[match[2]] if match else timedelta()
    if not timedelta() < length <= _LONGEST:
        told = f"window={window} is no length of time up to 7d; write 24h"
        raise ProblemError("invalid-request", told, errors=[("/window", told)])
    projects = caller.narrowed_to(project)
    return await context.store.read(lambda s: read_oncall(s, projects, length, database_now(s)))
