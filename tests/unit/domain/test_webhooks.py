"""Signatures that other libraries verify, and patterns."""

from __future__ import annotations

import base64

import pytest

from bridge.domain import webhooks
from bridge.domain.webhooks import BadSignature, sign, verify

# The reference vector that Standard Webhooks publishes.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1614265330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
OTHER = webhooks.make_secret(b"another secret of 24 byte")


def test_a_signature_is_that_of_standard_webhooks() -> None:
    assert sign([SECRET], MESSAGE, AT, BODY) == SIGNATURE


def test_a_message_signed_with_two_secrets_is_verified_with_either() -> None:
    both = sign([OTHER, SECRET], MESSAGE, AT, BODY)
    assert len(both.split()) == 2
    for known in (SECRET, OTHER):
        verify([known], MESSAGE, str(AT), both, BODY, now_seconds=AT + 10)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"body": BODY + b" "}, "secret"),
        ({"message_id": "msg_other"}, "secret"),
        ({"secrets": [OTHER]}, "secret"),
        ({"signatures": SIGNATURE.replace("v1,", "v2,")}, "secret"),
        ({"signatures": ""}, "secret"),
        ({"now_seconds": AT + 301}, "301 s ago"),
        ({"now_seconds": AT - 301}, "-301 s ago"),
        ({"timestamp": "yesterday"}, "no number"),
    ],
)
def test_what_was_changed_or_is_old_is_refused(changed: dict[str, object], says: str) -> None:
    given: dict[str, object] = {
        "secrets": [SECRET],
        "message_id": MESSAGE,
        "timestamp": str(AT),
        "signatures": SIGNATURE,
        "body": BODY,
        "now_seconds": AT,
    }
    verify(**given)  # type: ignore[arg-type]
    with pytest.raises(BadSignature, match=says):
        verify(**(given | changed))  # type: ignore[arg-type]


def test_secrets_that_callers_bring_have_enough_bytes() -> None:
    assert webhooks.secret_problem(SECRET) is None
    assert "16" in (webhooks.secret_problem("whsec_" + base64.b64encode(bytes(16)).decode()) or "")
    assert webhooks.secret_problem("whsec_not base64!") is not None


def test_patterns_name_events_that_exist() -> None:
    assert webhooks.pattern_problem("run.settled") is None
    assert webhooks.pattern_problem("run.*") is None
    assert webhooks.pattern_problem("*") is None
    assert "run.settled" in (webhooks.pattern_problem("run.setled") or "")
    assert webhooks.pattern_problem("job.*") is not None


def test_what_is_wanted() -> None:
    assert webhooks.wants((), "run.created")
    assert webhooks.wants(("run.*",), "run.lost")
    assert webhooks.wants(("run.lost", "run.settled"), "run.settled")
    assert not webhooks.wants(("run.settled",), "run.ended")
