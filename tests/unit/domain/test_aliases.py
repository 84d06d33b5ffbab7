"""What ``pipeline@alias`` is, and what only looks like it."""

from __future__ import annotations

import pytest

from bridge.domain.aliases import alias_problem, split_alias


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("train@prod", ("train", "prod")),
        (" nightly train@v1.2_a-b ", ("nightly train", "v1.2_a-b")),
        ("a@b@prod", ("a@b", "prod")),
        ("train", None),
        ("train@", None),
        ("@prod", None),
        ("train@-prod", None),
        ("train@prod.yaml", None),
        ("train@prod.YML", None),
        ("folder@x/train", None),
        ("https://user@host/train", None),
        ("s3://key@bucket", None),
    ],
)
def test_pipeline_and_alias(text: str, parts: tuple[str, str] | None) -> None:
    assert split_alias(text) == parts


@pytest.mark.parametrize("alias", ["", ".x", "a b", "a/b", "a@b", "x" * 64, "prod\n", "Ünder"])
def test_a_name_that_no_alias_may_have_is_told(alias: str) -> None:
    assert alias_problem(alias) is not None
    assert alias_problem("x" * 63) is None
