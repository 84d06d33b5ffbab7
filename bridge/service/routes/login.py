"""``/login``: the pages by which people with a browser sign in, and the way to the issuer and back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs, quote, urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BaseModel

from bridge.domain.hosts import is_foreign_change
from bridge.service import login_page
from bridge.service.access import attempts
from bridge.service.access.login_errors import LoginError
from bridge.service.access.places import CALLBACK, DONE, is_foreign_form, return_path
from bridge.service.context import Context
from bridge.service.problems import ProblemError
from bridge.service.routes.common import ContextDep, session_cookie, site_asked

if TYPE_CHECKING:
    # Only where people sign in so: the library for signatures takes 10 MB.
    from bridge.service.access.login import OidcLogin

# Longer than any token; a form holds a token and a path.
_MOST_FORM_BYTES = 64 * 1024
_MINUTES = round(attempts.ATTEMPT_SECONDS / 60)

router = APIRouter(include_in_schema=False)
ReturnTo = Annotated[str | None, Query()]


@router.get("/login")
async def login(
    request: Request, context: ContextDep, return_to: ReturnTo = None, signed_out: str | None = None
) -> Response:
    """The page with the ways to sign in."""
    return _page(request, context, return_path(return_to), signed_out=signed_out is not None)


@router.post("/login")
async def login_by_token(request: Request, context: ContextDep) -> Response:
    """Signing in with an API token; the form of the page sends it."""
    site = site_asked(request, context)
    if is_foreign_change(request.method, request.headers) or is_foreign_form(request.headers, site):
        raise ProblemError("foreign-page", "another site's page sent this by a browser; nobody was signed in")
    form = await _form_of(request)
    back = return_path(form.get("return_to"))
    given = form.get("token", "").strip()
    signed_in = await context.authenticator.sessions.by_token(given) if given else None
    if signed_in is None:
        error = LoginError(
            401,
            "The bridge does not take this token",
            "It is no API token of this bridge, or was revoked or rotated, or has expired.",
            "Look whether it was copied whole; kfbridge token list shows which are in force.",
        )
        return _page(request, context, back, error=error)
    secret = await context.authenticator.sessions.start(signed_in)
    return await _begun(request, context, secret, back)


@router.get("/login/start")
async def start(request: Request, context: ContextDep, return_to: ReturnTo = None) -> Response:
    """To the issuer."""
    back = return_path(return_to)
    oidc = context.authenticator.login
    if oidc is None:
        return _page(request, context, back)
    site = site_asked(request, context)
    attempt = attempts.begin(request.cookies.get(site.cookie("login")), back, time.time())
    try:
        address = await oidc.address(attempt, site)
    except LoginError as error:
        return _page(request, context, back, error=error)
    answer = RedirectResponse(address, status_code=303, headers={"Cache-Control": "no-store"})
    site.set_cookie(answer, "login", attempt.secret, attempts.ATTEMPT_SECONDS)
    return answer


class SentBack(BaseModel):
    """What the issuer sends a browser back with."""

    state: str = ""
    code: str = ""
    error: str = ""
    error_description: str = ""
    iss: str = ""


@router.get(CALLBACK)
async def callback(request: Request, context: ContextDep, sent: Annotated[SentBack, Query()]) -> Response:
    """Back from the issuer."""
    oidc = context.authenticator.login
    if oidc is None:
        return _page(request, context, "/")
    cookie = request.cookies.get(site_asked(request, context).cookie("login"))
    try:
        attempt = attempts.resume(cookie, sent.state, time.time())
    except attempts.WrongState as wrong:
        told = LoginError(
            400,
            "This sign-in cannot be finished",
            f"The bridge cannot tell that you began it: {wrong}.",
            f"Sign in again, in one browser that keeps cookies, within {_MINUTES} minutes.",
        )
        return _page(request, context, "/", error=told)
    return await _finished(request, context, oidc, attempt, sent)


def sign_in_first(request: Request) -> Response | None:
    """The way to the page to sign in, for a browser that goes to an address; ``None`` for programs, and for
    what a page asks for by itself."""
    goes_there = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if not goes_there or "authorization" in request.headers:
        return None
    context: Context = request.app.state.context
    site = site_asked(request, context)
    # As it was written: the path of the scope has its blanks and letters back.
    asked = quote(request.scope["path"], safe="/:@!$&'()*+,;=~") + (
        f"?{request.url.query}" if request.url.query else ""
    )
    # An issuer shows nothing in a frame.
    framed = request.headers.get("sec-fetch-dest") in ("iframe", "frame")
    path = "/login" if context.authenticator.login is None or framed else "/login/start"
    where = f"{site.prefix}{path}?{urlencode({'return_to': return_path(asked)})}"
    return RedirectResponse(where, status_code=303, headers={"Cache-Control": "no-store"})


@router.get(DONE)
async def done(request: Request, context: ContextDep) -> Response:
    """What a window shows that was opened to sign in again: the page it was opened from goes on."""
    return login_page.done(context.settings.airflow_url)


async def _finished(
    request: Request, context: Context, oidc: OidcLogin, attempt: attempts.Attempt, sent: SentBack
) -> Response:
    from bridge.service.access.login import Answer

    answer = Answer(sent.code, sent.error, sent.error_description, sent.iss)
    try:
        signed_in = await oidc.finish(attempt, answer, site_asked(request, context))
        secret = await context.authenticator.sessions.start(signed_in)
        if secret is None:
            raise LoginError(
                400,
                "This sign-in is finished already",
                "It has made a session before; a second one is not made of it.",
                "Sign in again.",
            )
    except LoginError as wrong:
        return _page(request, context, attempt.return_to, error=wrong)
    return await _begun(request, context, secret, attempt.return_to)


async def _begun(request: Request, context: Context, secret: str | None, back: str) -> Response:
    """Back to where somebody came from, with the cookie of their new session; an older one ends."""
    assert secret is not None, "a session is refused only to an attempt that has made one"
    site = site_asked(request, context)
    sessions = context.authenticator.sessions
    before = await sessions.signed_in(session_cookie(request, context))
    if before is not None:
        await sessions.end(before)
    answer = RedirectResponse(site.prefix + back, status_code=303, headers={"Cache-Control": "no-store"})
    site.set_cookie(answer, "session", secret, context.settings.session_seconds)
    return answer


def _page(
    request: Request,
    context: Context,
    back: str,
    *,
    error: LoginError | None = None,
    signed_out: bool = False,
) -> Response:
    settings = context.settings
    prefix = site_asked(request, context).prefix
    issuer = settings.oidc.shown_name if settings.oidc and context.authenticator.login else None
    view = login_page.View(
        prefix=prefix,
        back=back,
        start=f"{prefix}/login/start?{urlencode({'return_to': back})}",
        issuer=issuer,
        required=context.authenticator.required,
        # Issuers show nothing in a frame, and a frame of another site is sent no cookie.
        framed=request.headers.get("sec-fetch-dest") in ("iframe", "frame"),
        signed_out=signed_out,
        error=error,
    )
    return login_page.page(view, settings.airflow_url)


async def _form_of(request: Request) -> dict[str, str]:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ProblemError("invalid-request", "send the form of the page /login")
    raw = await request.body()
    if len(raw) > _MOST_FORM_BYTES:
        raise ProblemError("too-large", f"the form is larger than {_MOST_FORM_BYTES:,} bytes")
    try:
        fields = parse_qs(raw.decode(), max_num_fields=8)
    except ValueError as error:
        raise ProblemError("invalid-request", "this is no form") from error
    return {name: values[0] for name, values in fields.items()}
