"""``/quarantine``: work that is set aside, and letting it be tried again."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from sqlmodel import Session

from bridge.client.models import Page
from bridge.client.status import QuarantineModel
from bridge.domain.access import Action
from bridge.lineage import audit, quarantine
from bridge.lineage.records import Quarantined
from bridge.service.problems import ProblemError
from bridge.service.routes.common import CallerDep, ContextDep, RowNumber

router = APIRouter(tags=["quarantine"])


@router.get("/quarantine", response_model=Page[QuarantineModel])
async def list_quarantine(
    context: ContextDep, caller: CallerDep, backend: str | None = None
) -> Page[QuarantineModel]:
    """What is set aside, the oldest first, the first thousand."""
    projects = caller.projects
    found = await context.store.read(lambda s: quarantine.listed(s, backend=backend, projects=projects))
    return Page(items=[QuarantineModel(**asdict(one)) for one in found])


@router.post("/quarantine/{number}:release", response_model=QuarantineModel)
async def release(context: ContextDep, caller: CallerDep, number: RowNumber) -> QuarantineModel:
    """Have it tried again; should it go on failing, it comes back under another number."""

    def write(session: Session) -> Quarantined | None:
        aside = quarantine.find(session, number)
        if aside is None or not caller.sees(aside.project):
            return None
        caller.need(Action.OPERATE, aside.project)
        released = quarantine.let_go(session, number)
        if released is not None:
            audit.record(
                session,
                "quarantine.release",
                actor=caller.actor,
                run_id=released.run_id,
                data={"work": released.work, "subject": released.subject, "reason": released.reason},
                before={"set_aside": True},
                after={"set_aside": False},
                project=released.project,
                backend=released.backend,
            )
        return released

    released = await context.store.transact(write)
    if released is None:
        raise ProblemError("not-found", f"nothing with the number {number} is set aside")
    for bell in (
        context.wakeups.submit,
        context.wakeups.cancel,
        context.wakeups.mirror,
        context.wakeups.track,
        context.wakeups.emit,
    ):
        bell(released.backend).ring()
    return QuarantineModel(**asdict(released))
