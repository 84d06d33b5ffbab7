"""``/session``: who asks, and the end of a browser's session."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bridge.client.access import SessionModel, SignedOutModel
from bridge.service.access.sessions import OIDC
from bridge.service.routes.common import CallerDep, ContextDep, as_json, site_asked

SIGNED_OUT = "/login?signed_out=1"

router = APIRouter(tags=["session"])


@router.get("/session", response_model=SessionModel)
async def session(caller: CallerDep) -> Response:
    """Who asks, which roles they have in which projects, and until when their session lasts."""
    found = caller.session
    told = SessionModel.model_validate(
        {
            "name": caller.principal.name,
            "kind": caller.principal.kind,
            "roles": dict(caller.principal.grants),
            "signed_in": found is not None,
            "expires_at": found.expires_at if found else None,
        }
    )
    return as_json(told, headers={"Cache-Control": "no-store"})


@router.post("/session:end", response_model=SignedOutModel)
async def end(request: Request, context: ContextDep, caller: CallerDep) -> Response:
    """Sign out: end the session of the browser's cookie. A token that came instead goes on to count."""
    site = site_asked(request, context)
    authenticator = context.authenticator
    continue_at = site.prefix + SIGNED_OUT
    if caller.session is not None:
        await authenticator.sessions.end(caller.session)
        if caller.principal.kind == OIDC and authenticator.login is not None:
            continue_at = await authenticator.login.end_address(site, SIGNED_OUT) or continue_at
    told = SignedOutModel(continue_at=continue_at)
    answer = as_json(told, headers={"Cache-Control": "no-store"})
    site.drop_cookie(answer, "session")
    return answer
