"""Signing in by a browser at an issuer, under a path of a host: there and back, to act, and out again."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from bridge.lineage import sessions
from bridge.lineage.database import Database
from tests.integration.service.calls import submit, wait_until
from tests.integration.service.pipelines import sleeps
from tests.support.bridge_service import start_service
from tests.support.local_backend import start_local_backend
from tests.support.served_issuer import CLIENT, CLIENT_SECRET, ServedIssuer, served_issuer
from tests.web.conftest import OpenView
from tests.web.test_looks import settled

TOKEN = "the token of the settings"
_SETTINGS = """
token_keep_seconds = 0.5
[oidc]
issuer = "{issuer}"
audience = "kfbridge"
client_id = "{client}"
display_name = "Fake issuer"
grants = [{{ claim = "groups", value = "ml", role = "submitter", projects = ["risk"] }}]
"""


@dataclass(frozen=True)
class Guarded:
    """A service that asks who somebody is, and a run of the project risk."""

    url: str
    issuer: ServedIssuer
    run: dict[str, Any]
    database_url: str

    @property
    def page(self) -> str:
        """The path of the run's logs."""
        return f"/ml/runs/{self.run['run_id']}?tab=logs"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """With a backend of its own: another service's history tells of whatever is at its backend."""
    folder = tmp_path_factory.mktemp("guarded")
    url = f"http://127.0.0.1:{_free_port()}"
    with served_issuer() as issuer, start_local_backend(folder / "local") as backend:
        issuer.asks = True
        issuer.returns = {f"{url}/ml/login/callback"}
        (folder / "bridge.toml").write_text(_SETTINGS.format(issuer=issuer.url, client=CLIENT))
        environment = {
            "KFBRIDGE_CONFIG": str(folder / "bridge.toml"),
            "KFBRIDGE_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "KFBRIDGE_API_TOKEN": TOKEN,
            "KFBRIDGE_PORT": url.rpartition(":")[2],
            "KFBRIDGE_PUBLIC_URL": f"{url}/ml",
        }
        with (
            start_service(folder, backend.url, env=environment),
            httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client,
        ):
            run = submit(client, sleeps(600), display_name="guarded", project="risk")
            run = wait_until(client, run, state="RUNNING")
            yield Guarded(url, issuer, run, f"sqlite:///{folder / 'bridge.db'}")


def test_from_a_deep_link_to_the_issuer_to_act_and_out_again(look: OpenView, guarded: Guarded) -> None:
    view = look(base_url=guarded.url)
    page = view.page
    view.open(guarded.page)
    page.get_by_role("link", name="Continue as ada").click()
    settled(page, "text=guarded")
    assert page.url == guarded.url + guarded.page
    assert view.problems() == []
    # Under the path, too: other pages, reloads, and what is loaded by and by.
    page.get_by_role("link", name="Status", exact=True).click()
    page.reload()
    pause = page.get_by_role("button", name="Pause backend default")
    expect(pause).to_have_attribute("aria-disabled", "true")
    # Pressed all the same, as a finger does that no title is shown to.
    pause.click(force=True)
    reason = "You have no role in all projects together; this takes operator."
    expect(page.get_by_role("status").filter(has_text=reason)).to_be_visible()
    assert view.accessibility() == []
    page.goto(guarded.url + guarded.page)
    settled(page, "text=guarded")

    # What ends the session leaves the page as it is.
    database = Database(guarded.database_url)
    try:
        assert database.transact(lambda s: sessions.end_sessions_of(s, "ada", actor="test")) == 1
    finally:
        database.close()
    ended = page.get_by_role("alert", name="The session has ended")
    expect(ended).to_be_visible()
    expect(page.locator("h1")).to_contain_text("guarded")
    assert view.accessibility() == []
    with page.expect_popup() as opened:
        ended.get_by_role("link", name="Sign in again").click()
    opened.value.get_by_role("link", name="Continue as ada").click()
    expect(opened.value.get_by_role("heading", name="You are signed in")).to_be_visible()
    opened.value.close()
    expect(ended).to_have_count(0)
    view.complaints[:] = [one for one in view.complaints if not one.startswith("401 for")]

    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel the run").click()
    expect(page.locator("[data-state]").first).to_have_text(re.compile("CANCEL", re.IGNORECASE))
    page.get_by_role("button", name="Account: ada").click()
    expect(page.get_by_text("Project risk")).to_be_visible()
    assert view.problems() == []
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You have signed out.")).to_be_visible()
    assert page.url == f"{guarded.url}/ml/login?signed_out=1"
    # Who leaves a page stops what it was still loading.
    assert [one for one in view.problems() if "ERR_ABORTED" not in one] == []
    assert guarded.issuer.asked[-1] == "/logout"
    page.goto(guarded.url + guarded.page)
    expect(page.get_by_role("heading", name="Fake issuer")).to_be_visible()


@pytest.mark.parametrize(("theme", "size"), [("light", "desk"), ("dark", "phone")])
def test_pages_to_sign_in_are_sound(look: OpenView, guarded: Guarded, theme: str, size: str) -> None:
    view = look(theme=theme, size=size, base_url=guarded.url, script=False)
    page = view.page
    view.open("/ml/login?return_to=%2Fcost")
    page.get_by_text("Use an API token").click()
    page.get_by_label("API token").fill("kfb_wrong")
    page.get_by_role("button", name="Sign in with the token").click()
    expect(page.get_by_role("alert")).to_contain_text("does not take this token")
    page.get_by_label("API token").fill(TOKEN)
    page.get_by_role("button", name="Sign in with the token").click()
    page.wait_for_url(f"{guarded.url}/ml/cost")
    looked = look(theme=theme, size=size, base_url=guarded.url)
    for path in ("/ml/login", "/ml/login?signed_out=1", "/ml/login/callback?state=x", "/ml/login/done"):
        looked.open(path)
        assert looked.problems() == [], path
        assert looked.accessibility() == [], path
