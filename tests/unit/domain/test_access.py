"""The one rule: role, action, project."""

from __future__ import annotations

from itertools import product

import pytest

from bridge.domain.access import EVERY, LEAST, Action, Principal, Role, allows, grants_of, merged
from bridge.domain.tokens import read_token, secret_digest, secret_text, token_text

ALLOWED = {
    Role.VIEWER: {Action.READ},
    Role.SUBMITTER: {Action.READ, Action.SUBMIT},
    Role.OPERATOR: {Action.READ, Action.SUBMIT, Action.OPERATE},
    Role.ADMIN: set(Action),
}


@pytest.mark.parametrize(("role", "action"), list(product(Role, Action)))
def test_a_role_may_what_is_its_own_in_its_projects_alone(role: Role, action: Action) -> None:
    one = Principal(name="a", kind="token", grants=grants_of(role, ["ours"]))
    assert allows(one, action, "ours") is (action in ALLOWED[role])
    assert not allows(one, action, "theirs")
    assert not allows(one, action, EVERY)
    everywhere = Principal(name="a", kind="token", grants=grants_of(role, [EVERY]))
    for project in ("ours", "theirs", EVERY):
        assert allows(everywhere, action, project) is (action in ALLOWED[role])


def test_every_action_has_a_least_role() -> None:
    assert set(LEAST) == set(Action)


def test_the_higher_of_two_roles_counts() -> None:
    one = Principal(name="a", kind="oidc", grants={EVERY: Role.VIEWER, "ours": Role.OPERATOR})
    assert (one.role_in("ours"), one.role_in("theirs")) == (Role.OPERATOR, Role.VIEWER)
    assert one.projects_for(Action.READ) is None
    assert one.projects_for(Action.SUBMIT) == {"ours"}
    assert one.projects_for(Action.ADMINISTER) == frozenset()
    assert merged({"a": Role.ADMIN, "b": Role.VIEWER}, {"a": Role.VIEWER, "b": Role.SUBMITTER}) == {
        "a": Role.ADMIN,
        "b": Role.SUBMITTER,
    }


def test_a_token_is_read_as_it_was_written_and_nothing_else_is() -> None:
    secret = secret_text(bytes(range(224, 256)))
    text = token_text("0123456789abcdef", secret)
    assert read_token(text) == ("0123456789abcdef", secret)
    assert len(secret) == 43
    assert len(secret_digest(secret)) == 64
    for other in ("", "kfb_", text[:-1], text + "A", text.upper(), f" {text}", text + "\n", "x" + text):
        assert read_token(other) is None
