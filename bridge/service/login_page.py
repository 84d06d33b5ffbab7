"""The page to sign in: plain HTML that needs no script and nothing that is built."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from html import escape

from fastapi.responses import HTMLResponse, Response

from bridge.service.access.login_errors import LoginError
from bridge.service.limits import security_headers

_STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f9; --panel: #fff; --line: #e0e5eb; --edge: #848e9d;
  --text: #18202b; --dim: #566172; --link: #0b56a4; --button: #0b56a4; --bad: #a3201e; --bad-ground: #fdeceb;
  --run: #0b56a4; --run-ground: #e4effb; }
@media (prefers-color-scheme: dark) { :root { --ground: #0f1319; --panel: #171c24; --line: #2a323e;
  --edge: #717d8d; --text: #e5eaf1; --dim: #9ba8b8; --link: #86bbff; --button: #1d61ad; --bad: #ff9d97;
  --bad-ground: #3a1b1c; --run: #8fc1ff; --run-ground: #152a43; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1rem;
  background: var(--ground);
  color: var(--text); font: 0.9375rem/1.5 Inter, system-ui, -apple-system, "Segoe UI", Roboto,
  "Liberation Sans", "DejaVu Sans", Arial, sans-serif; }
main { width: 100%; max-width: 26rem; display: grid; gap: 1.1rem; padding: 1.75rem; background: var(--panel);
  border: 1px solid var(--line); border-radius: 10px; }
main > *, form > *, details > * { min-width: 0; }
h1, h2, p { margin: 0; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; line-height: 1.3; letter-spacing: -0.01em; }
h2 { font-size: 1rem; }
.brand { display: flex; gap: 0.5rem; align-items: center; font-weight: 650; color: var(--dim); }
.dim { color: var(--dim); font-size: 0.875rem; }
a { color: var(--link); }
.button, button { display: block; width: 100%; padding: 0.65rem 1rem; border: 0; border-radius: 8px;
  background: var(--button); color: #fff; font: inherit; font-weight: 600; text-align: center;
  text-decoration: none; cursor: pointer; overflow-wrap: anywhere; }
button.second { background: transparent; color: var(--text); border: 1px solid var(--edge); }
.button:hover, button:hover { filter: brightness(1.1); }
:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
form { display: grid; gap: 0.75rem; }
label { display: grid; gap: 0.35rem; font-weight: 600; }
input { width: 100%; padding: 0.6rem 0.75rem; border: 1px solid var(--edge); border-radius: 8px;
  background: var(--ground); color: var(--text);
  font: 0.875rem/1.6 ui-monospace, Menlo, Consolas, monospace; }
.note { display: grid; gap: 0.4rem; padding: 0.8rem 1rem; border-radius: 8px; background: var(--run-ground);
  color: var(--run); }
.note.bad { background: var(--bad-ground); color: var(--bad); }
details { border-top: 1px solid var(--line); padding-top: 1rem; }
summary { cursor: pointer; color: var(--link); }
details form { margin-top: 0.9rem; }
"""
_MARK = (
    '<svg width="22" height="22" viewBox="0 0 32 32" aria-hidden="true"><path fill="none" stroke="#2f7fd6" '
    'stroke-width="3" d="M2 24h28M6 24V14m20 10V14M2 16C8 6 24 6 30 16"/></svg>'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What the page shows. ``prefix`` is before all paths of the service; ``back`` where to go afterwards,
    ``start`` the way to the ``issuer``, which has a name if people sign in there. ``required``: callers are
    asked who they are at all; ``framed``: the page is shown inside another one."""

    prefix: str
    back: str
    start: str
    issuer: str | None
    required: bool
    framed: bool = False
    signed_out: bool = False
    error: LoginError | None = None


def page(view: View, framed_by: str | None) -> Response:
    """The page with the ways to sign in, and what went wrong the last time."""
    return _answer("Sign in", _body(view), framed_by, view.error.status if view.error else 200)


def done(framed_by: str | None) -> Response:
    """What a window shows that was opened to sign in again."""
    body = (
        "<h1>You are signed in</h1><p>This window can be closed. The page that you came from goes on by "
        "itself.</p>"
    )
    return _answer("Signed in", body, framed_by, 200)


def _body(view: View) -> str:
    parts = [f'<p class="brand">{_MARK} kfbridge</p>']
    if view.error is not None:
        parts.append(_problem(view.error))
    elif view.signed_out:
        parts.append('<p class="note" role="status">You have signed out.</p>')
    parts.append("<h1>Sign in</h1>" if view.error is None else "<h2>Sign in</h2>")
    if not view.required:
        told = "This bridge asks nobody who they are: there is nothing to sign in to."
        return "".join([*parts, f"<p>{told}</p>", _way(view, "Go on")])
    if view.framed:
        told = "Nobody can sign in inside another page. In a window of its own the bridge asks who you are."
        return "".join([*parts, f"<p>{told}</p>", _way(view, "Open the bridge", ' target="_blank"')])
    if view.issuer is None:
        return "".join([*parts, _token_form(view, second=False)])
    parts.append(f'<a class="button" href="{escape(view.start)}">Sign in with {escape(view.issuer)}</a>')
    opened = " open" if view.error is not None and view.error.status == 401 else ""
    form = _token_form(view, second=True)
    parts.append(f"<details{opened}><summary>Use an API token</summary>{form}</details>")
    return "".join(parts)


def _problem(error: LoginError) -> str:
    return (
        f'<div class="note bad" role="alert"><h1>{escape(error.title)}</h1><p>{escape(error.detail)}</p>'
        f"<p>{escape(error.to_do)}</p></div>"
    )


def _token_form(view: View, *, second: bool) -> str:
    told = (
        '<p class="dim">Whoever runs the bridge makes one with <code>kfbridge token create</code>. '
        "You may do here what the token may.</p>"
    )
    kind = ' class="second"' if second else ""
    focus = "" if second else " autofocus"
    return (
        f'<form method="post" action="{escape(view.prefix)}/login">'
        f'<input type="hidden" name="return_to" value="{escape(view.back)}">'
        f'<label>API token<input type="password" name="token" autocomplete="current-password" required'
        f' spellcheck="false" maxlength="16384" placeholder="kfb_…"{focus}></label>{told}'
        f"<button{kind}>Sign in with the token</button></form>"
    )


def _way(view: View, text: str, more: str = "") -> str:
    return f'<a class="button"{more} href="{escape(view.prefix + view.back)}">{text}</a>'


def _answer(title: str, body: str, framed_by: str | None, status: int) -> Response:
    nonce = secrets.token_urlsafe(16)
    policy = security_headers(framed_by, style_nonce=nonce)
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title} · kfbridge</title><style nonce="{nonce}">{_STYLE}</style></head>'
        f"<body><main>{body}</main></body></html>"
    )
    headers = {"Cache-Control": "no-store"} | {name.decode(): value.decode() for name, value in policy}
    return HTMLResponse(text, status_code=status, headers=headers)
