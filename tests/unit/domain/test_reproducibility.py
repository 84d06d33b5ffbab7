"""How exactly a run can be made again."""

from __future__ import annotations

import pytest

from bridge.domain.reproducibility import (
    Effect,
    Grade,
    InputNow,
    Reason,
    allows,
    grade,
    image_reasons,
    input_reasons,
    is_pinned,
    package_reasons,
)


def _reason(effect: Effect) -> Reason:
    return Reason(kind="input", effect=effect, name="x", detail="")


@pytest.mark.parametrize(
    ("effects", "expected"),
    [
        ([], Grade.EXACT),
        ([Effect.FLOATING], Grade.SAME_SPEC),
        ([Effect.UNKNOWN], Grade.SAME_SPEC),
        ([Effect.MOVED, Effect.FLOATING], Grade.SAME_SPEC),
        ([Effect.FLOATING, Effect.GONE], Grade.IMPOSSIBLE),
    ],
)
def test_the_worst_reason_decides(effects: list[Effect], expected: Grade) -> None:
    assert grade([_reason(effect) for effect in effects]) is expected


@pytest.mark.parametrize(
    ("wanted", "found", "allowed"),
    [
        (Grade.EXACT, Grade.EXACT, True),
        (Grade.EXACT, Grade.SAME_SPEC, False),
        (Grade.SAME_SPEC, Grade.SAME_SPEC, True),
        (Grade.SAME_SPEC, Grade.EXACT, True),
        (Grade.SAME_SPEC, Grade.IMPOSSIBLE, False),
    ],
)
def test_what_a_caller_allows(wanted: Grade, found: Grade, allowed: bool) -> None:
    assert allows(wanted, found) is allowed


@pytest.mark.parametrize(
    ("said", "pinned"),
    [
        ("==2.1", True),
        ("== 2.1.post1", True),
        ("===2.1", True),
        ("==2.1 ; python_version < '3.13'", True),
        ("==2.*", False),
        (">=2.1", False),
        ("==2.1,!=2.1.1", False),
        ("any", False),
        ("", False),
        ("@ git+https://example.org/x.git@" + "a" * 40, True),
        ("@ git+https://example.org/x.git@main", False),
        ("@ https://example.org/x.whl#sha256=" + "b" * 64, True),
    ],
)
def test_what_pins_a_package(said: str, pinned: bool) -> None:
    assert is_pinned(said) is pinned
    assert (package_reasons({"train: x": said}) == []) is pinned


def test_a_tag_floats_and_a_digest_does_not() -> None:
    (reason,) = image_reasons({"train": "python:3.11", "score": f"python@sha256:{'a' * 64}"})
    assert (reason.name, reason.effect) == ("train", Effect.FLOATING)


@pytest.mark.parametrize(
    ("facts", "effect"),
    [
        ({"version": "v1", "measured": "v1"}, None),
        ({"version": "v1", "measured": "v2"}, Effect.MOVED),
        ({"version": "v1", "measured": "v1", "newest": "v2"}, None),
        ({"version": "v1", "newest": "v2"}, Effect.MOVED),
        ({"version": "v1", "newest": "v1"}, Effect.UNKNOWN),
        ({"version": "v1", "unseen": "far away"}, Effect.UNKNOWN),
        ({"version": None, "measured": "v1"}, Effect.UNKNOWN),
        ({"version": "v1", "gone": True}, Effect.GONE),
        ({"version": None, "gone": True}, Effect.GONE),
    ],
)
def test_what_became_of_an_input(facts: dict[str, str], effect: Effect | None) -> None:
    reasons = input_reasons([InputNow(name="flights", uri="file:///data", **facts)])  # type: ignore[arg-type]
    assert [reason.effect for reason in reasons] == ([] if effect is None else [effect])
