"""``kfbridge webhooks`` against a real bridge and a real receiver."""

from __future__ import annotations

import pytest

from tests.integration.cli.conftest import Command
from tests.support.webhook_receiver import webhook_receiver


def test_a_webhook_is_added_tested_paused_and_removed(kfbridge: Command) -> None:
    with webhook_receiver() as receiver:
        made = kfbridge("webhooks", "add", receiver.url, "--type", "run.lost", "--json")
        assert made.code == 0, made.err
        secret, short = made.json["secret"], made.json["webhook_id"][:8]
        assert kfbridge("webhooks", "test", short).out == f"{receiver.url} took it\n"
        (event,) = receiver.events(secret)
        assert (event["type"], event["data"]["webhook_id"]) == (
            "kfbridge.webhook.test",
            made.json["webhook_id"],
        )
        receiver.status = 500
        refused = kfbridge("webhooks", "test", short)
        assert (refused.code, refused.out) == (1, f"{receiver.url} did not take it: answered 500\n")
    listed = kfbridge("webhooks").out
    assert all(word in listed for word in (short, receiver.url, "run.lost", "active"))
    assert secret not in listed
    assert "until it is resumed" in kfbridge("webhooks", "pause", short).out
    assert "paused" in kfbridge("webhooks").out
    assert kfbridge("webhooks", "dead", short).out == "nothing was given up\n"
    assert kfbridge("webhooks", "redeliver", short).out == "0 messages are sent once more\n"
    assert "whsec_" in kfbridge("webhooks", "rotate", short).out
    assert kfbridge("webhooks", "remove", short).code == 0
    assert short not in kfbridge("webhooks").out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add",), "needs the URL"),
        (("test",), "needs a webhook's id"),
        (("test", "3f2a"), "no webhook begins with 3f2a"),
        (("add", "http://127.0.0.1:9/", "--type", "run.setled"), "did you mean run.settled?"),
        (("add", "ftp://127.0.0.1/"), "begins with http:// or https://"),
    ],
)
def test_mistakes_are_told(kfbridge: Command, words: tuple[str, ...], told: str) -> None:
    said = kfbridge("webhooks", *words)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
