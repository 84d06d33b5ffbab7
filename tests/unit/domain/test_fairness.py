"""Who is given the next place at a backend."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.fairness import Share, Standing, give_places, in_turn

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def standing(
    project: str, *, active: int = 0, waiting: int = 500, cap: int = 20, weight: float = 1.0, age: float = 0
) -> Standing:
    return Standing(
        project=project,
        active=active,
        waiting=waiting,
        oldest=T0 - timedelta(seconds=age),
        share=Share(cap, weight),
    )


def test_who_has_fewest_places_is_first_and_turns_alternate() -> None:
    backfill, other = standing("backfill", active=6, age=60), standing("other", active=4)
    assert [one.project for one in in_turn([backfill, other])] == ["other", "backfill"]
    assert give_places([backfill, other], 1) == {"other": 1}
    assert give_places([backfill, other], 4) == {"other": 3, "backfill": 1}
    assert give_places([standing("a"), standing("b"), standing("c")], 7) == {"a": 3, "b": 2, "c": 2}


def test_at_equal_numbers_the_longest_waiting_is_first() -> None:
    assert list(give_places([standing("a", age=1), standing("b", age=2)], 1)) == ["b"]


def test_weights_share_the_places() -> None:
    assert give_places([standing("heavy", weight=3), standing("light")], 8) == {"heavy": 6, "light": 2}


def test_nobody_gets_more_than_the_cap_or_than_waits() -> None:
    assert give_places([standing("a", active=19), standing("b", waiting=2)], 8) == {"a": 1, "b": 2}
    assert give_places([standing("a", active=20), standing("b", active=25)], 8) == {}
    assert give_places([], 8) == {}


STANDINGS = st.lists(
    st.builds(
        standing,
        project=st.sampled_from("abcdef"),
        active=st.integers(0, 30),
        waiting=st.integers(0, 10),
        cap=st.integers(1, 25),
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        age=st.integers(0, 3),
    ),
    unique_by=lambda one: one.project,
)


@given(STANDINGS, st.integers(0, 40))
def test_places_are_never_lost_nor_given_beyond_a_cap(standings: list[Standing], free: int) -> None:
    by_name = {one.project: one for one in standings}
    could = {
        one.project: min(one.waiting, max(0, one.share.max_active_runs - one.active)) for one in standings
    }
    given_places = give_places(standings, free)
    assert sum(given_places.values()) == min(free, sum(could.values()))
    for project, count in given_places.items():
        assert 0 < count <= could[project]
    # Whoever wanted more and got none the worse for it is not behind anybody that was given a place.
    for hungry in (one for one in standings if given_places.get(one.project, 0) < could[one.project]):
        mine = (hungry.active + given_places.get(hungry.project, 0)) / hungry.share.weight
        for project, count in given_places.items():
            before_last = (by_name[project].active + count - 1) / by_name[project].share.weight
            assert before_last <= mine
    waiting_ones = [one for one in standings if one.waiting]
    first = {one.project for one in in_turn(waiting_ones)[:free]}
    assert set(given_places) <= first
