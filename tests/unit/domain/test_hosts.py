from __future__ import annotations

import pytest

from bridge.domain.hosts import host_of, is_foreign_change, is_known_host


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("bridge.example:8700", "bridge.example"),
        ("Bridge.Example.", "bridge.example"),
        ("127.0.0.1:8700", "127.0.0.1"),
        ("[::1]:8700", "::1"),
        ("[::1]", "::1"),
        ("::1", "::1"),
        ("[::1]evil.example", "[::1]evil.example"),
        ("localhost:evil", "localhost:evil"),
        (":80", ":80"),
    ],
)
def test_a_host_is_what_stands_before_the_port(header: str, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("localhost:8700", True),
        ("app.localhost", True),
        ("10.1.2.3:8700", True),
        ("[fd00::7]:8700", True),
        ("bridge.example:443", True),
        ("BRIDGE.example.", True),
        ("a.b.team.example", True),
        ("team.example", False),
        ("evilteam.example", False),
        ("evil.example:8700", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("[::1]evil.example", False),
        ("", False),
    ],
)
def test_addresses_loopback_names_and_the_servers_own_are_known(header: str, known: bool) -> None:
    assert is_known_host(header, ("bridge.example", "*.team.example")) is known


def test_a_star_lets_every_name_in() -> None:
    assert is_known_host("evil.example", ("*",))


@pytest.mark.parametrize(
    ("method", "site", "foreign"),
    [
        ("POST", "cross-site", True),
        ("DELETE", "same-site", True),
        ("POST", "same-origin", False),
        ("POST", "none", False),
        ("GET", "cross-site", False),
        ("POST", None, False),
    ],
)
def test_a_change_that_another_sites_page_sends_is_told_apart(
    method: str, site: str | None, foreign: bool
) -> None:
    headers = {} if site is None else {"sec-fetch-site": site}
    assert is_foreign_change(method, headers) is foreign
